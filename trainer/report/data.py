"""What a report is made of. Every number comes from the evaluation, which stands beside it as JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet_contract.dataset import DatasetItem
from fleet_contract.manifest import Manifest
from trainer.report.gallery import Picture


@dataclass(frozen=True, slots=True)
class ReportData:
    """One bundle and what was measured of it."""

    manifest: Manifest
    evaluation: Mapping[str, Any]
    comparison: Mapping[str, Any] = field(default_factory=dict)
    """With the champion; empty without one."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Images by label and side of the split; empty where only a holdout is known."""
    pictures: tuple[Picture, ...] = ()
    """The worst errors."""
    measured_on: str = "the frozen holdout of its data set"
    """Which images were judged, for people."""


def dataset_counts(items: Iterable[DatasetItem]) -> dict[str, dict[str, int]]:
    """Images by label and side."""
    counts: dict[str, dict[str, int]] = {}
    for item in items:
        sides = counts.setdefault(item.label, {"train": 0, "holdout": 0})
        sides[item.split] += 1
    return dict(sorted(counts.items()))
