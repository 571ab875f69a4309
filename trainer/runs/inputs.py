"""What a training takes where its caller does not say: the newest data set, a sample of it, a name."""

import hashlib
import math
from collections import defaultdict
from typing import Any

from fleet_contract.dataset import GOOD, DatasetItem, DatasetVersion
from fleet_contract.errors import DataError
from trainer.config import TrainerConfig
from trainer.data.split import group_labels
from trainer.data.store import Store
from trainer.runs.values import changed

_SMOKE_S = 20
_SMOKE_EPOCHS = 30
_SMOKE_DEFECTS, _SMOKE_HELD = 6, 3
"""Parts of each class of defect to learn from, and to measure on."""
_SMOKE_HELD_GOOD = 6
_SMOKE_GOOD = 16
_CALIBRATION_PARTS = 6
"""Good parts that a threshold can be chosen on, and one to spare."""


def newest(store: Store, line: str) -> DatasetVersion:
    """The line's version that no other has as its parent.

    Raises DataError where the line has none, or more than one.
    """
    versions = {digest: store.version(digest) for digest in store.digests()}
    mine = {digest: version for digest, version in versions.items() if version.line == line}
    parents = {version.parent for version in mine.values()}
    found = [digest for digest in mine if digest not in parents]
    if len(found) == 1:
        return mine[found[0]]
    if found:
        raise DataError(
            f"line {line} has more than one newest data set",
            found="; ".join(f"{d[:12]} ({mine[d].reason})" for d in found),
            remedy="Name one with --dataset.",
        )
    lines = sorted({version.line for version in versions.values()})
    raise DataError(
        f"the store in {store.folder} has no data set of line {line}",
        found=f"lines {', '.join(lines)}" if lines else "no data set at all",
        remedy="Import images with `loupe-trainer import`, or name another store with --store.",
    )


def smoke_config(config: TrainerConfig) -> TrainerConfig:
    """The same line in a few steps: enough to run through all code, not to learn the line."""
    return changed(config, {
        "train.epochs": min(config.train.epochs, _SMOKE_EPOCHS),
        "train.time_budget": f"{min(config.train.time_budget, _SMOKE_S):g}s",
    }, "--smoke")  # fmt: skip


def smoke_sample(version: DatasetVersion, config: TrainerConfig) -> DatasetVersion:
    """A few parts of every class of both sides, one image each; always the same ones."""
    good = max(_SMOKE_GOOD, math.ceil(_CALIBRATION_PARTS / config.threshold.kept_out(0)))
    items = [
        *_few(version.side("train"), good, _SMOKE_DEFECTS),
        *_few(version.side("holdout"), _SMOKE_HELD_GOOD, _SMOKE_HELD),
    ]
    reason = f"smoke sample of {version.digest()[:12]}"
    return version.model_copy(update={"items": items, "reason": reason, "parent": version.digest()})


def not_releasable(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The evaluation of a smoke run: a gate named `smoke` that did not pass."""
    gates = evaluation.get("gates", {"passed": True, "checks": []})
    check = {"name": "smoke", "limit": 1.0, "value": None, "passed": False,
             "why": "a smoke run trains a few steps on a few parts: its bundle is not for use"}  # fmt: skip
    return {**evaluation, "gates": {"passed": False, "checks": [*gates["checks"], check]}}


def _few(items: list[DatasetItem], good: int, bad: int) -> list[DatasetItem]:
    labels = group_labels([(item.group, item.label) for item in items])
    # The first image of a part that shows what the part is filed under.
    first: dict[str, DatasetItem] = {}
    for item in items:
        if item.label == labels[item.group]:
            first.setdefault(item.group, item)
    classes: dict[str, list[DatasetItem]] = defaultdict(list)
    for group in sorted(first, key=lambda name: hashlib.sha256(name.encode()).digest()):
        classes[first[group].label].append(first[group])
    return [
        item
        for label, found in sorted(classes.items())
        for item in found[: good if label == GOOD else bad]
    ]
