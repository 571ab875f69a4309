"""From images to an ensemble of trained members, by the family that the configuration names."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet_contract.clock import Clock
from fleet_contract.errors import DataError
from fleet_contract.manifest import Preprocess
from trainer.checkpoint import Slot
from trainer.config import TrainerConfig
from trainer.data.images import Images
from trainer.member import Ensemble, Member, OnnxMember, TorchMember
from trainer.plugin import Lesson, run_plugin
from trainer.runs.facts import Shares
from trainer.statistical import fit_statistical
from trainer.training import Progress, Setting, StoppedError, train

Report = Callable[[int, Progress], bool]
"""Told (member, progress) after every step; True stops."""


@dataclass(frozen=True, slots=True)
class Task:
    """One fit."""

    config: TrainerConfig
    spec: Preprocess
    clock: Clock
    folder: Path
    """For what a plugin leaves."""
    report: Report
    starts: Mapping[int, bytes] = field(default_factory=dict)
    """By member: weights to go on from."""
    shares: list[Shares] | None = None
    """By member: steps of an earlier training, to be taken again."""
    checkpoint: Path | None = None
    key: str = ""
    """Names the data set, so that a checkpoint of another one is not gone on from."""

    @property
    def view(self) -> tuple[int, int]:
        """Height and width of the graph's input."""
        return self.spec.height, self.spec.width


def fit(images: Images, task: Task) -> Ensemble:
    """Trains what the configuration asks for.

    Raises TrainingError, NotConvergedError, StoppedError, ConfigError, DataError.
    """
    settings = task.config.train
    _check(images, settings.family)
    members: list[Member]
    if settings.family == "statistical":
        model = fit_statistical(images, task.config, task.view)
        members = [TorchMember(model, model.final)]
        if task.report(0, Progress(1, 1.0, 0.0, 0.0, 0.0)):
            raise StoppedError("training was stopped")
    elif settings.family == "plugin":
        members = [OnnxMember(run_plugin(settings.plugin, _lesson(images, task)))]
    else:
        members = [_member(images, task, index) for index in range(settings.members)]
    return Ensemble(members, settings.ensemble, task.spec)


def _member(images: Images, task: Task, index: int) -> TorchMember:
    settings = task.config.train
    chosen = images.good() if settings.family == "good_only" else images
    path = None if task.checkpoint is None else member_path(task.checkpoint, index)
    key = f"{task.key}/{task.config.digest()}/{index}"
    setting = Setting(
        task.config, task.view, settings.seed + index, settings.time_budget / settings.members,
        start=task.starts.get(index), shares=task.shares[index] if task.shares else None,
        checkpoint=None if path is None else Slot(path, hashlib.sha256(key.encode()).hexdigest()),
    )  # fmt: skip
    model = train(chosen, setting, task.clock, lambda progress: task.report(index, progress))
    return TorchMember(model, model.final)


def member_path(checkpoint: Path, index: int) -> Path:
    """The first member's state lies in the file itself, others' beside it."""
    return checkpoint if index == 0 else checkpoint.with_name(f"{checkpoint.name}.{index}")


def _lesson(images: Images, task: Task) -> Lesson:
    whole = images.small_pixels is not None and images.small_marks is not None
    pictures = images.small_pixels if whole else images.pixels
    marks = images.small_marks if whole else images.marks
    assert pictures is not None
    assert marks is not None
    settings = task.config.train

    def stopped(share: float, _message: str) -> bool:
        return task.report(0, Progress(1, share, 0.0, 0.0, 0.0))

    return Lesson(pictures, images.defective, marks, task.folder, settings.seed,
                  settings.time_budget, stopped)  # fmt: skip


def _check(images: Images, family: str) -> None:
    defective = int(images.defective.sum())
    if family == "supervised" and not defective:
        raise DataError(
            "nothing to tell good parts from",
            expected="images of defective parts beside good ones", found="good parts only",
            remedy='Set train.family = "good_only", or add images of defects.',
        )  # fmt: skip
    if defective == len(images):
        raise DataError("no good part to learn from", expected="images of good parts",
                        found=f"{defective} defective ones")  # fmt: skip
