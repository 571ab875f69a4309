"""Trains a bundle again from what it carries, and says whether the same came out.

On a machine of the same kind, with the same packages, weights and models are the same bit for bit.
Another processor rounds otherwise; training makes large differences of small ones, so what can be
asked there is that the two models say much the same of the holdout.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from fleet_contract import archive
from fleet_contract.clock import Clock
from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import ConfigError
from fleet_contract.manifest import Manifest
from trainer.build import Builder, Watch, judge_archive
from trainer.bundle import Origin, code_version, tools
from trainer.data.store import Store
from trainer.measures import auroc
from trainer.runs.facts import Shares, Trained, TrainingFacts, how_trained
from trainer.runs.folder import Runs
from trainer.runs.inputs import smoke_sample
from trainer.runs.machine import hardware
from trainer.runs.values import changed
from trainer.samples import Samples, load_samples

_WEIGHTS, _MODELS = "training/weights", "model/"


class Answer(StrEnum):
    """Whether the same came out."""

    SAME = "same"
    """Weights and models, bit for bit."""
    WITHIN = "within_tolerance"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two trainings may lie apart on the holdout and still be called the same."""

    score: float
    """Largest difference of any part's score."""
    auroc: float


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came out of a second training."""

    answer: Answer
    files: dict[str, bool]
    """Weights and models: whether each is the same bit for bit."""
    score: float | None
    """Largest difference of a score on the holdout; None where nothing differs."""
    auroc: float | None
    differs: dict[str, list[str]]
    """Of code, machine and packages: what the bundle was made with, and what is here."""
    schedule: str
    digest: str
    """Of the bundle that was made again."""

    def to_json(self) -> dict[str, Any]:
        """What `reproduce --json` prints."""
        return {
            "answer": self.answer, "files": self.files, "score_difference": self.score,
            "auroc_difference": self.auroc, "differs": self.differs, "schedule": self.schedule,
            "digest": self.digest,
        }  # fmt: skip


def reproduce(
    data: bytes,
    store: Store,
    tolerance: Tolerance,
    watch: Watch,
    clock: Clock,
    champion: bytes | None = None,
) -> Reproduction:
    """Trains the packed bundle `data` again on its data set, which `store` holds.

    `champion` is the bundle whose weights it went on from, where it did. Raises BundleError where
    the bundle does not say how it was trained, ConfigError for another champion, DataError.
    """
    manifest, files = archive.read(data)
    trained = how_trained(files)
    _check_champion(trained.facts, champion)
    version = store.version(trained.facts.dataset)
    built = _train(trained, manifest, store, version, watch, clock, champion)
    _, made = archive.read(built)
    names = [name for name in files if name.startswith((_WEIGHTS, _MODELS))]
    same = {name: made.get(name) == files[name] for name in names}
    score = area = None
    answer = Answer.SAME
    if not all(same.values()):
        side = _seen(trained, version).side("holdout")
        score, area = _apart(data, built, load_samples(store, side))
        near = score <= tolerance.score and area <= tolerance.auroc
        answer = Answer.WITHIN if near else Answer.DIFFERENT
    return Reproduction(answer, same, score, area, what_differs(trained.facts),
                        trained.facts.schedule, archive.digest(built))  # fmt: skip


def what_differs(facts: TrainingFacts) -> dict[str, list[str]]:
    """Code, machine and packages that are not those of the first training."""
    here = hardware()
    now = {"code": code_version(), "processor": here.processor, "machine": here.machine, **tools()}
    then = {"code": facts.code, "processor": facts.hardware.processor,
            "machine": facts.hardware.machine, **facts.environment}  # fmt: skip
    names = [*then, *(name for name in now if name not in then)]
    pairs = {name: [then.get(name, "none"), now.get(name, "none")] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def start_of(data: bytes) -> str | None:
    """The digest of the bundle whose weights a packed bundle went on from. Raises BundleError."""
    return how_trained(archive.read(data)[1]).facts.start


def find_bundle(runs: Runs, digest: str) -> bytes | None:
    """A bundle that a recorded run made, where its file is still there."""
    paths = [Path(record.artefacts.get("bundle", "")) for record in runs.all()
             if record.bundle == digest]  # fmt: skip
    found = (path.read_bytes() for path in paths if path.is_file())
    return next((data for data in found if archive.digest(data) == digest), None)


def _check_champion(facts: TrainingFacts, champion: bytes | None) -> None:
    found = archive.digest(champion) if champion is not None else None
    if facts.start is not None and found != facts.start:
        raise ConfigError(
            "the bundle went on from the weights of another one, which is needed",
            expected=f"bundle {facts.start[:12]}", found=found[:12] if found else "none",
            remedy="Name its file with --champion.",
        )  # fmt: skip


def _seen(trained: Trained, version: DatasetVersion) -> DatasetVersion:
    return smoke_sample(version, trained.config) if trained.facts.smoke else version


def _train(
    trained: Trained,
    manifest: Manifest,
    store: Store,
    version: DatasetVersion,
    watch: Watch,
    clock: Clock,
    champion: bytes | None,
) -> bytes:
    facts, lineage = trained.facts, manifest.lineage
    config = changed(trained.config, {"train.threads": facts.threads}, "training/run.json")
    origin = Origin(
        run=lineage.run, incident=lineage.incident, champion=lineage.parent,
        sample_of=facts.dataset if facts.smoke else None,
    )  # fmt: skip
    builder = Builder(
        config, store, _seen(trained, version), clock, watch, origin=origin,
        champion=champion if facts.start else None, shares=_shares(trained),
    )  # fmt: skip
    return builder.build().archive


def _shares(trained: Trained) -> list[Shares] | None:
    """The schedule; of steps alone too, lest a slow machine's clock end the training earlier."""
    if trained.facts.schedule == "steps":
        return [np.arange(1, steps + 1) / steps for steps in trained.facts.steps]
    return trained.shares


def _apart(first: bytes, second: bytes, samples: Samples) -> tuple[float, float]:
    """Largest difference of a score, and the difference of AUROC, on the holdout.

    Frames that a bundle refuses are left out; both refuse the same ones.
    """
    one, other = judge_archive(first, samples), judge_archive(second, samples)
    known = one.decided & other.decided
    truth = samples.defective[known]
    areas = [auroc(judged.scores[known], truth) or 0.0 for judged in (one, other)]
    score = float(np.abs(one.scores[known] - other.scores[known]).max(initial=0.0))
    return score, abs(areas[0] - areas[1])
