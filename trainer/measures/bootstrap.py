"""Intervals by drawing parts again (Efron 1979), all resamples at once.

Images of one part stand or fall together, so parts are drawn and not images; good and defective
parts are drawn apart, so that no resample lacks either.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trainer.measures.pixels import PixelCounts, Sparse
from trainer.measures.ranking import Scores
from trainer.measures.rates import Truth

RESAMPLES = 2000
_CONFIDENCE = 0.95
_BLOCK = 4_000_000
"""Weights that are held at a time."""
_PIXEL_BINS = 512

Weights = NDArray[np.float64]
Interval = tuple[float, float]


class Resamples:
    """How often each part is drawn. The same seed gives the same draws."""

    def __init__(
        self, groups: list[str], defective: Truth, seed: int = 0, count: int = RESAMPLES
    ) -> None:
        names, self._part = np.unique(np.array(groups), return_inverse=True)
        parts = len(names)
        bad = np.zeros(parts, np.bool_)
        np.logical_or.at(bad, self._part, defective)
        rng = np.random.default_rng(seed)
        self._drawn = np.zeros((count, parts), np.uint16)
        self.strata = int((~bad).sum()), int(bad.sum())
        """Good and defective parts."""
        for chosen in (np.flatnonzero(~bad), np.flatnonzero(bad)):
            if len(chosen):
                self._drawn[:, chosen] = _draw(rng, count, len(chosen))

    @property
    def possible(self) -> bool:
        """Whether two parts of either kind are there; with one, drawing again tells nothing."""
        return min(self.strata) >= 2

    def by_image(self, order: NDArray[np.intp]) -> Iterator[Weights]:
        """Blocks of [resamples, n]: how often each image counts, in `order`."""
        rows = max(1, _BLOCK // max(len(order), 1))
        for start in range(0, len(self._drawn), rows):
            yield self._drawn[start : start + rows][:, self._part[order]].astype(np.float64)

    def totals(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[resamples, k]: sums over the drawn of `values` [images, k]."""
        parts = np.zeros((self._drawn.shape[1], values.shape[1]))
        np.add.at(parts, self._part, values)
        return np.asarray(self._drawn.astype(np.float64) @ parts)


def _draw(rng: np.random.Generator, count: int, parts: int) -> NDArray[np.uint16]:
    drawn = rng.integers(0, parts, (count, parts)) + np.arange(count)[:, None] * parts
    return np.bincount(drawn.reshape(-1), minlength=count * parts).reshape(count, parts).astype(np.uint16)  # fmt: skip


def interval(values: NDArray[np.float64], confidence: float = _CONFIDENCE) -> Interval:
    """The percentile interval of resampled values."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def aurocs(resamples: Resamples, scores: Scores, defective: Truth) -> NDArray[np.float64]:
    """[resamples] AUROC of each, ties half."""
    order = np.argsort(scores, kind="stable")
    starts = _level_starts(scores[order])
    bad = defective[order]
    result = []
    for weights in resamples.by_image(order):
        positives = np.add.reduceat(weights * bad, starts, axis=1)
        negatives = np.add.reduceat(weights * ~bad, starts, axis=1)
        below = np.cumsum(negatives, axis=1) - 0.5 * negatives
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        result.append((positives * below).sum(axis=1) / pairs)
    return np.concatenate(result)


def average_precisions(
    resamples: Resamples, scores: Scores, defective: Truth
) -> NDArray[np.float64]:
    """[resamples] average precision of each, ties taken together."""
    order = np.argsort(-scores, kind="stable")
    starts = _level_starts(scores[order])
    bad = defective[order]
    result = []
    for weights in resamples.by_image(order):
        positives = np.add.reduceat(weights * bad, starts, axis=1)
        result.append(_precisions(positives, np.add.reduceat(weights, starts, axis=1)))
    return np.concatenate(result)


def pixel_average_precisions(
    resamples: Resamples, counts: PixelCounts
) -> NDArray[np.float64] | None:
    """[resamples] pixel AP of each, in 512 steps of recall; None without defective pixels.

    `counts` hold the images in the order of the groups that `resamples` were made of. What the
    coarser steps lose on all images together is given back to every resample.
    """
    exact = counts.average_precision()
    if exact is None:
        return None
    edges = _recall_edges(counts)
    good = np.stack([_binned(one, edges, bad=False) for one in counts.images])
    bad = np.stack([_binned(one, edges, bad=True) for one in counts.images])
    drawn_bad = resamples.totals(bad)
    with np.errstate(invalid="ignore"):
        values = _precisions(drawn_bad, drawn_bad + resamples.totals(good))
        plain = _precisions(bad.sum(axis=0)[None], (bad + good).sum(axis=0)[None])
    return np.clip(values + (exact - float(plain[0])), 0.0, 1.0)


def _precisions(positives: Weights, all_of_them: Weights) -> NDArray[np.float64]:
    """Average precision by row, columns from the highest score down."""
    hits, taken = np.cumsum(positives, axis=1), np.cumsum(all_of_them, axis=1)
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
    return np.asarray((precision * positives).sum(axis=1) / hits[:, -1])


def _level_starts(ordered: Scores) -> NDArray[np.intp]:
    return np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1]).astype(np.intp)


def _recall_edges(counts: PixelCounts) -> NDArray[np.int64]:
    """Codes, descending, between which the defective pixels fall into equal shares."""
    coarse = counts.bad.reshape(1 << 16, -1).sum(axis=1)[::-1]
    reached = np.cumsum(coarse)
    steps = np.linspace(0, reached[-1], _PIXEL_BINS + 1)[1:]
    return np.unique(np.searchsorted(reached, steps)).astype(np.int64)


def _binned(one: Sparse | None, edges: NDArray[np.int64], *, bad: bool) -> NDArray[np.float64]:
    """Counts of one image between the edges; what lies below the last defect counts nowhere."""
    if one is None:
        return np.zeros(len(edges))
    places = np.searchsorted(edges, (1 << 16) - 1 - one.codes.astype(np.int64))
    values = one.bad if bad else one.good
    counts = np.bincount(places, values.astype(np.float64), minlength=len(edges) + 1)
    return counts[: len(edges)].astype(np.float64)
