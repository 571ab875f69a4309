"""Measures of an inspection, as pure functions of scores, verdicts and masks.

Scores are higher for what looks more defective; `defective` is the truth.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Scores = NDArray[np.float64]
Truth = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of `trials` with its exact interval at 95 %."""

    count: int
    trials: int
    rate: float | None
    """None without trials."""
    low: float
    high: float

    def to_json(self) -> dict[str, float | int | None]:
        """`count`, `trials`, `rate`, `low`, `high`."""
        return {"count": self.count, "trials": self.trials, "rate": self.rate,
                "low": self.low, "high": self.high}  # fmt: skip


def exact_rate(count: int, trials: int, confidence: float = 0.95) -> Rate:
    """A binomial rate with its Clopper-Pearson interval (Biometrika 26, 1934)."""
    if trials == 0:
        return Rate(0, 0, None, 0.0, 1.0)
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, count, trials - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(1 - tail, count + 1, trials - count)) if count < trials else 1.0
    return Rate(count, trials, count / trials, low, high)


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
    positives = int(defective.sum())
    if not positives:
        return None
    order = np.argsort(-scores, kind="stable")
    ordered, truth = scores[order], defective[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    return _precision_sum(np.cumsum(truth)[ends], ends + 1)


def pixel_average_precision(
    heat: list[NDArray[np.float32]], masks: list[NDArray[np.bool_]]
) -> float | None:
    """Average precision over all pixels, heat in 65536 steps of its range; None without defects.

    `heat` and `masks` are [h, w] each, any increasing function of the defect's probability.
    """
    positives = sum(int(mask.sum()) for mask in masks)
    if not positives:
        return None
    low, high = min(float(h.min()) for h in heat), max(float(h.max()) for h in heat)
    counts = np.zeros((2, 65536), np.int64)
    for one, mask in zip(heat, masks, strict=True):
        steps = np.rint((one - low) / max(high - low, 1e-9) * 65535).astype(np.int64)
        for side in (0, 1):
            counts[side] += np.bincount(steps[mask == bool(side)], minlength=65536)
    hits = np.cumsum(counts[1][::-1])
    taken = hits + np.cumsum(counts[0][::-1])
    return _precision_sum(hits[taken > 0], taken[taken > 0])


def _precision_sum(hits: NDArray[np.int64], taken: NDArray[np.int64]) -> float:
    """Of cumulated hits among those taken so far, from the highest score down."""
    return float((hits / taken * np.diff(hits, prepend=0)).sum() / hits[-1])


def f1(rejected: Truth, defective: Truth) -> float:
    """Harmonic mean of precision and recall of the verdicts; 0 where nothing is found."""
    hits = int((rejected & defective).sum())
    total = int(rejected.sum()) + int(defective.sum())
    return 2 * hits / total if total else 0.0


def f1_max(scores: Scores, defective: Truth) -> float:
    """The best F1 that any threshold would give: an oracle, to stand beside `f1` and never for it."""
    return max(f1(scores >= threshold, defective) for threshold in np.unique(scores))


def escape(rejected: Truth, defective: Truth) -> Rate:
    """Missed defective over defective."""
    return exact_rate(int((~rejected & defective).sum()), int(defective.sum()))


def overkill(rejected: Truth, defective: Truth) -> Rate:
    """Rejected good over good."""
    return exact_rate(int((rejected & ~defective).sum()), int((~defective).sum()))


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


def slice_aurocs(
    scores: Scores, defective: Truth, slices: list[dict[str, str]]
) -> dict[str, dict[str, float]]:
    """AUROC by the values of each slice column, where both sides are there; numbers are left out
    where they take more than 12 values (a slice is a group, not a measurement)."""
    result: dict[str, dict[str, float]] = {}
    for column in sorted({name for item in slices for name in item}):
        values = np.array([item.get(column, "") for item in slices])
        kinds = sorted(set(values) - {""})
        if len(kinds) > 12:
            continue
        found = {
            str(kind): auroc(scores[values == kind], defective[values == kind]) for kind in kinds
        }
        known = {kind: value for kind, value in found.items() if value is not None}
        if known:
            result[column] = known
    return result


def defect_aurocs(scores: Scores, labels: list[str], good: str) -> dict[str, float]:
    """AUROC of each class of defect against all good ones."""
    names = np.array(labels)
    result = {}
    for label in sorted(set(labels) - {good}):
        chosen = (names == label) | (names == good)
        value = auroc(scores[chosen], names[chosen] == label)
        if value is not None:
            result[label] = value
    return result


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie, interpolated."""
    return float(np.quantile(np.array(values), share))
