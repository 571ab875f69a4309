"""The same figures by group: where a mean hides that one light, camera or kind of defect does badly."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.measures.ranking import Scores, auroc
from trainer.measures.rates import Rate, Truth, difference_interval, escape, overkill

DEFECT, SIZE = "defect", "defect_size"
"""Slices by class of defect and by its size: each value's defects against all good ones."""
SIZES = ("small", "medium", "large")
MOST_VALUES = 12
"""A column with more values is a measurement and not a group."""
LEAST = 5
"""Good and defective ones that a slice needs to be called the worst, or to be compared."""

Columns = Mapping[str, list[str]]
"""By name: the value of each image, '' where it has none."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One value of one column."""

    column: str
    value: str
    good: int
    defective: int
    auroc: float | None
    escape: Rate
    overkill: Rate

    def to_json(self) -> dict[str, Any]:
        """`n`, `good`, `defective`, `image_auroc`, `escape`, `overkill`."""
        return {"n": self.good + self.defective, "good": self.good, "defective": self.defective,
                "image_auroc": self.auroc, "escape": self.escape.to_json(),
                "overkill": self.overkill.to_json()}  # fmt: skip


def columns_of(slices: list[dict[str, str]]) -> tuple[Columns, dict[str, int]]:
    """Columns to report by, and those left out for their many values, with how many they have."""
    names = sorted({name for one in slices for name in one})
    columns = {name: [one.get(name, "") for one in slices] for name in names}
    many = {name: len(set(values)) for name, values in columns.items()
            if len(set(values) - {""}) > MOST_VALUES}  # fmt: skip
    return {name: values for name, values in columns.items() if name not in many}, many


def by_column(
    scores: Scores, rejected: Truth, defective: Truth, columns: Columns
) -> list[Slice]:  # fmt: skip
    """A slice for every value of every column."""
    found = []
    for name, values in columns.items():
        kinds = np.array(values)
        for kind in sorted(set(values) - {""}):
            found.append(_slice((name, kind), scores, rejected, defective, kinds == kind))
    return found


def by_kind(
    name: str, scores: Scores, rejected: Truth, defective: Truth, kinds: list[str]
) -> list[Slice]:
    """A slice for every kind of defect, against all good ones; `kinds` are '' where it is unknown."""
    values = np.array(kinds)
    wanted = [kind for kind in SIZES if kind in kinds] if name == SIZE else sorted({*kinds} - {""})
    return [_slice((name, kind), scores, rejected, defective,
                   ~defective | (defective & (values == kind))) for kind in wanted]  # fmt: skip


def _slice(
    name: tuple[str, str],
    scores: Scores,
    rejected: Truth,
    defective: Truth,
    chosen: NDArray[np.bool_],
) -> Slice:
    truth, verdicts = defective[chosen], rejected[chosen]
    return Slice(*name, good=int((~truth).sum()), defective=int(truth.sum()),
                 auroc=auroc(scores[chosen], truth), escape=escape(verdicts, truth),
                 overkill=overkill(verdicts, truth))  # fmt: skip


def worst(slices: list[Slice]) -> Slice | None:
    """The one with the lowest AUROC among those with five good and five defective ones or more."""
    fit = [one for one in slices if one.auroc is not None and min(one.good, one.defective) >= LEAST]
    return min(fit, key=lambda one: (one.auroc, one.column, one.value), default=None)


@dataclass(frozen=True, slots=True)
class SizeBounds:
    """Areas that part small from medium and medium from large defects, in pixels of the image."""

    small_at_most: float
    medium_at_most: float


def size_kinds(areas: list[int | None]) -> tuple[list[str], SizeBounds | None]:
    """`small`, `medium` or `large` by terciles of the known areas; '' where none is known.

    Fewer than three known areas are not divided.
    """
    known = [area for area in areas if area]
    if len(known) < len(SIZES):
        return [""] * len(areas), None
    first, second = (float(np.quantile(known, share)) for share in (1 / 3, 2 / 3))
    kinds = ["" if not area else SIZES[(area > first) + (area > second)] for area in areas]
    return kinds, SizeBounds(first, second)


@dataclass(frozen=True, slots=True)
class Bias:
    """The largest difference of a rate between two values of one column."""

    column: str
    measure: str
    """`escape` or `overkill`."""
    higher: str
    lower: str
    difference: float
    low: float
    high: float
    """Its interval at 95 %, widened for the pairs that were looked at (Bonferroni)."""

    @property
    def told_from_chance(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0

    def to_json(self) -> dict[str, Any]:
        """The fields, and `told_from_chance`."""
        return {"slice": self.column, "measure": self.measure, "higher": self.higher,
                "lower": self.lower, "difference": self.difference, "low": self.low,
                "high": self.high, "told_from_chance": self.told_from_chance}  # fmt: skip


def biases(slices: list[Slice]) -> list[Bias]:
    """For each column and measure the largest difference between two of its values."""
    found = []
    for column in dict.fromkeys(one.column for one in slices):
        own = [one for one in slices if one.column == column]
        for measure in ("escape", "overkill"):
            rates = {one.value: one.escape if measure == "escape" else one.overkill for one in own}
            largest = _largest(column, measure, rates)
            if largest is not None:
                found.append(largest)
    return found


def _largest(column: str, measure: str, rates: dict[str, Rate]) -> Bias | None:
    fit = [(value, rate) for value, rate in rates.items() if rate.trials >= LEAST]
    pairs = list(combinations(fit, 2))
    if not pairs:
        return None
    confidence = 1 - 0.05 / len(pairs)
    found = []
    for one, other in pairs:
        (higher, top), (lower, bottom) = sorted(
            (one, other), key=lambda pair: -(pair[1].rate or 0.0)
        )
        low, high = difference_interval(top, bottom, confidence)
        difference = (top.rate or 0.0) - (bottom.rate or 0.0)
        found.append(Bias(column, measure, higher, lower, difference, low, high))
    # A difference that chance explains must not hide a smaller one that it does not.
    return max(found, key=lambda bias: (bias.told_from_chance, bias.difference))
