"""Cross-validation by part, on the training side alone: what to expect where data is scarce."""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fleet_contract.clock import Clock
from fleet_contract.dataset import GOOD, DatasetItem, DatasetVersion
from fleet_contract.errors import DataError
from trainer.config import TrainerConfig
from trainer.data.images import load_images
from trainer.data.split import group_labels
from trainer.data.statistics import describe
from trainer.data.store import Store
from trainer.family import Task, fit
from trainer.geometry import choose, classes
from trainer.measures import auroc, average_precision
from trainer.training import Progress

Watch = Callable[[float, str], bool]
"""Told (share done, message); True stops the work."""


@dataclass(frozen=True, slots=True)
class Fold:
    """What a model says of parts that it has not seen."""

    images: int
    parts: int
    image_auroc: float | None
    """None where the fold has good parts only, or none."""
    image_ap: float | None

    def to_json(self) -> dict[str, Any]:
        """For the evaluation."""
        return {"images": self.images, "parts": self.parts, "image_auroc": self.image_auroc,
                "image_ap": self.image_ap}  # fmt: skip


def fold_groups(items: list[DatasetItem], folds: int, seed: int) -> list[set[str]]:
    """The groups of each fold, every class dealt out in turn, in the order of a hash.

    Raises DataError where a class has fewer parts than there are folds.
    """
    labels = group_labels([(item.group, item.label) for item in items])
    classes: dict[bool, list[str]] = defaultdict(list)
    for group in sorted(labels, key=lambda name: (labels[name], _order(seed, name))):
        classes[labels[group] == GOOD].append(group)
    for good in (True, False):
        if len(classes[good]) < folds:
            raise DataError(
                f"too few {'good' if good else 'defective'} parts for {folds} folds",
                expected=f"{folds} or more to learn from", found=str(len(classes[good])),
                remedy="Ask for fewer folds, or add images.",
            )  # fmt: skip
    # Good parts are dealt out from the other end, so that no fold gets the rest of both.
    result: list[set[str]] = [set() for _ in range(folds)]
    for good, groups in classes.items():
        for index, group in enumerate(groups):
            result[folds - 1 - index % folds if good else index % folds].add(group)
    return result


def _order(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}\0fold\0{group}".encode()).hexdigest()


def cross_validate(
    config: TrainerConfig,
    store: Store,
    version: DatasetVersion,
    folds: int,
    watch: Watch,
    clock: Clock,
    after: Callable[[int, Fold], None] | None = None,
) -> list[Fold]:
    """Trains `folds` times, each time on the other folds, as `config` says; `after` each fold it
    is told the index and what came out, and may raise to end it.

    The holdout is not touched. Raises DataError, TrainingError, and StoppedError where `watch`
    says so.
    """
    items = version.side("train")
    spec = choose(config.input, version, describe(store, version)).preprocess
    result = []
    for index, held in enumerate(fold_groups(items, folds, config.train.seed)):

        def told(member: int, progress: Progress, index: int = index) -> bool:
            message = f"cross-validating: fold {index + 1} of {folds}, step {progress.step}"
            share = (member + progress.share) / config.train.members
            return watch((index + share) / folds, message)

        sides = ([i for i in items if i.group not in held], [i for i in items if i.group in held])
        learnt, seen = (load_images(store, side, spec, classes(version)) for side in sides)
        with tempfile.TemporaryDirectory(prefix="loupe-fold-") as folder:
            ensemble = fit(learnt, Task(config, spec, clock, Path(folder), told))
        scores = ensemble.scores(seen)
        result.append(Fold(
            len(seen), len(held), auroc(scores, seen.defective),
            average_precision(scores, seen.defective),
        ))  # fmt: skip
        if after is not None:
            after(index, result[-1])
    return result


def summary(folds: list[Fold]) -> dict[str, Any]:
    """For the evaluation: each fold, mean and standard deviation of the AUROC over folds.

    Folds share most of what they learn from, so the deviation understates how another data set of
    the line would differ (Bengio, Grandvalet 2004).
    """
    known = [fold.image_auroc for fold in folds if fold.image_auroc is not None]
    return {
        "folds": [fold.to_json() for fold in folds],
        "image_auroc": float(np.mean(known)) if known else None,
        "deviation": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "on": "the training side, by part; torch model at the graph's size",
    }
