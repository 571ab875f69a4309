"""What a dataset version holds, counted when it is made: by side, class and slice. Pure."""

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel

from fleet_contract.dataset import GOOD, DatasetItem, DatasetVersion

VALUES = 40
"""Values of a slice that are told apart; the rarest of the others are one."""
OTHERS = "(others)"


class Tally(BaseModel):
    """Images on each side."""

    train: int = 0
    holdout: int = 0


class Counts(BaseModel):
    """The figures of one version."""

    images: Tally
    parts: Tally
    defective: Tally
    masked: Tally
    """Defective images on which the place of the defect is marked."""
    labels: dict[str, Tally]
    slices: dict[str, dict[str, Tally]]
    """Slice -> value -> images."""


def count(version: DatasetVersion) -> Counts:
    """The figures of `version`."""
    items = version.items
    defective = [item for item in items if item.label != GOOD]
    parts = {item.group: item for item in items}
    return Counts(
        images=_tally(items),
        parts=_tally(parts.values()),
        defective=_tally(defective),
        masked=_tally(item for item in defective if item.mask),
        labels=_by((item.label, item) for item in items),
        slices={
            name: _by((item.slices[name], item) for item in items if name in item.slices)
            for name in sorted({name for item in items for name in item.slices})
        },
    )


def _tally(items: Iterable[DatasetItem]) -> Tally:
    sides = Counter(item.split for item in items)
    return Tally(train=sides["train"], holdout=sides["holdout"])


def _by(pairs: Iterable[tuple[str, DatasetItem]]) -> dict[str, Tally]:
    """The most frequent values first."""
    groups: dict[str, list[DatasetItem]] = {}
    for value, item in pairs:
        groups.setdefault(value, []).append(item)
    ranked = sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    shown = {value: _tally(items) for value, items in ranked[:VALUES]}
    rest = [item for _, items in ranked[VALUES:] for item in items]
    return {**shown, OTHERS: _tally(rest)} if rest else shown
