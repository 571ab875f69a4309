"""Shares of verdicts, each with the interval that so few parts allow."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

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


def escape(rejected: Truth, defective: Truth) -> Rate:
    """Missed defective over defective."""
    return exact_rate(int((~rejected & defective).sum()), int(defective.sum()))


def overkill(rejected: Truth, defective: Truth) -> Rate:
    """Rejected good over good."""
    return exact_rate(int((rejected & ~defective).sum()), int((~defective).sum()))


def class_recalls(rejected: Truth, labels: list[str], good: str) -> dict[str, Rate]:
    """Of each class of defect, the share that is rejected."""
    names = np.array(labels)
    return {
        label: exact_rate(int(rejected[names == label].sum()), int((names == label).sum()))
        for label in sorted(set(labels) - {good})
    }


def outgoing_dppm(rejected: Truth, defective: Truth) -> dict[str, float | int | None]:
    """Defective parts per million that pass: `missed` / `passed` x 1e6, at the prevalence of these.

    `value` is None where nothing passes.
    """
    missed, passed = int((~rejected & defective).sum()), int((~rejected).sum())
    return {"value": missed / passed * 1e6 if passed else None, "missed": missed, "passed": passed}


def difference_interval(one: Rate, other: Rate, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of `one - other`, of independent samples with at least one trial each.

    Newcombe's hybrid of two Wilson intervals (Statistics in Medicine 17, 1998, method 10).
    """
    if one.rate is None or other.rate is None:
        return -1.0, 1.0
    low_1, high_1 = wilson(one.count, one.trials, confidence)
    low_2, high_2 = wilson(other.count, other.trials, confidence)
    difference = one.rate - other.rate
    below = math.hypot(one.rate - low_1, high_2 - other.rate)
    above = math.hypot(high_1 - one.rate, other.rate - low_2)
    return difference - below, difference + above


def wilson(count: int, trials: int, confidence: float) -> tuple[float, float]:
    """The score interval of a binomial rate (Wilson, JASA 22, 1927)."""
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    share, square = count / trials, z * z
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    spread = share * (1 - share) / trials + square / (4 * trials**2)
    half = z * math.sqrt(spread) / (1 + square / trials)
    return max(centre - half, 0.0), min(centre + half, 1.0)
