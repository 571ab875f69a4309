"""Measures of scores: how well they rank, and what they promise.

Scores are higher for what looks more defective; `defective` is the truth.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trainer.measures.rates import Truth

Scores = NDArray[np.float64]


def auroc(scores: Scores, defective: Truth) -> float | None:
    """Chance that a defective one scores above a good one, ties half; None where one side is empty.

    By the rank sum (Mann, Whitney 1947).
    """
    positives, negatives = int(defective.sum()), int((~defective).sum())
    if not positives or not negatives:
        return None
    ranks = stats.rankdata(scores)
    surplus = float(ranks[defective].sum()) - positives * (positives + 1) / 2
    return surplus / (positives * negatives)


def average_precision(scores: Scores, defective: Truth) -> float | None:
    """Sum over recall steps of the precision there, ties taken together; None without defective ones."""
    if not defective.any():
        return None
    hits, taken = cumulated(scores, defective)
    return precision_sum(hits, taken)


def cumulated(
    scores: Scores, defective: Truth
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Defective ones and all, at or above each distinct score, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    ordered, truth = scores[order], defective[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    return np.cumsum(truth)[ends].astype(np.int64), (ends + 1).astype(np.int64)


def precision_sum(
    hits: NDArray[np.int64] | NDArray[np.float64], taken: NDArray[np.int64] | NDArray[np.float64]
) -> float:
    """Average precision of cumulated hits among those taken so far, from the highest score down."""
    return float((hits / taken * np.diff(hits, prepend=0)).sum() / hits[-1])


def f1(rejected: Truth, defective: Truth) -> float:
    """Harmonic mean of precision and recall of the verdicts; 0 where nothing is found."""
    hits = int((rejected & defective).sum())
    total = int(rejected.sum()) + int(defective.sum())
    return 2 * hits / total if total else 0.0


def f1_max(scores: Scores, defective: Truth) -> float:
    """The best F1 that any threshold would give: an oracle, to stand beside `f1` and never for it."""
    if not defective.any():
        return 0.0
    hits, taken = cumulated(scores, defective)
    return float((2 * hits / (taken + hits[-1])).max())


def conformal_threshold(good: Scores, overkill_at_most: float) -> float | None:
    """The smallest threshold with overkill at most that share on exchangeable good parts.

    The ceil((n + 1)(1 - a))-th smallest held-out good score (Vovk 2005); a score at the threshold
    is a reject, so the threshold lies just above it. None where n is too small for the promise:
    n must be at least 1/a - 1.
    """
    rank = math.ceil((len(good) + 1) * (1 - overkill_at_most) - 1e-9)
    if rank > len(good):
        return None
    return float(np.nextafter(np.sort(good)[rank - 1], np.inf))


def conformal_escape_threshold(defective: Scores, escape_at_most: float) -> float | None:
    """The largest threshold with escapes at most that share on exchangeable defective parts.

    The floor((n + 1) a)-th smallest held-out defective score: at the threshold is a reject. None
    where n is too small for the promise: n must be at least 1/a - 1.
    """
    rank = math.floor((len(defective) + 1) * escape_at_most + 1e-9)
    return float(np.sort(defective)[rank - 1]) if rank else None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far scores, read as probabilities of a defect, are from what happens."""

    error: float | None
    """Expected calibration error: mean distance of score and share, weighted by bin; None without
    scores."""
    bins: list[tuple[int, float, float]]
    """(n, mean score, share of defective ones) of each bin that holds any."""

    def to_json(self) -> dict[str, object]:
        """`error`, and `bins` of `n`, `score`, `defective`."""
        bins = [{"n": n, "score": score, "defective": share} for n, score, share in self.bins]
        return {"error": self.error, "bins": bins}


def calibration(scores: Scores, defective: Truth, bins: int = 10) -> Calibration:
    """Scores in [0, 1], in `bins` of equal width (Naeini, Cooper, Hauskrecht 2015)."""
    if not len(scores):
        return Calibration(None, [])
    places = np.minimum((scores * bins).astype(np.intp), bins - 1)
    filled = []
    for place in np.unique(places):
        inside = places == place
        filled.append((int(inside.sum()), float(scores[inside].mean()),
                       float(defective[inside].mean())))  # fmt: skip
    error = sum(n * abs(score - share) for n, score, share in filled) / len(scores)
    return Calibration(error, filled)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie, interpolated."""
    return float(np.quantile(np.array(values), share))
