"""From a data set to a bundle: train, calibrate, export, measure, compare, pack."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fleet_contract import archive
from fleet_contract.clock import Clock
from fleet_contract.dataset import GOOD, DatasetItem, DatasetVersion
from fleet_contract.errors import ConfigError
from fleet_contract.manifest import Manifest
from fleet_contract.names import Precision, Verdict
from trainer import bundle, evaluation, gates, golden
from trainer.calibrate import THRESHOLD, Promise, calibrate, logits
from trainer.compare import Side, compare
from trainer.config import TrainerConfig
from trainer.data.images import Images, load_frame, load_images
from trainer.data.split import choose_groups, group_labels
from trainer.data.store import Store
from trainer.export import litert, onnx
from trainer.judge import PRIMARY, Judged, judge, judge_all
from trainer.network import InspectionNet
from trainer.runs.facts import ShareLog, Shares, training_files
from trainer.runs.inputs import not_releasable
from trainer.runs.record import Recorder
from trainer.samples import Samples, load_samples
from trainer.training import Progress, StoppedError, train
from trainer.weights import WEIGHTS, pack_weights

_LOADED, _TRAINED, _EXPORTED, _MEASURED = 0.03, 0.8, 0.9, 0.97
"""Share of the whole that is done after each step."""
_REFERENCE_FRAMES = 200

Watch = Callable[[float, str], bool]
"""Told (share done, message); True stops the work."""


@dataclass(frozen=True, slots=True)
class Built:
    """A finished bundle and what it measures."""

    archive: bytes
    manifest: Manifest
    evaluation: dict[str, Any]
    comparison: dict[str, Any]
    """Empty without a champion."""

    @property
    def digest(self) -> str:
        """The bundle's digest."""
        return archive.digest(self.archive)


@dataclass(frozen=True, slots=True)
class Sides:
    """The data of a training: what is learnt from, what the threshold is chosen on, what is kept."""

    fit: list[DatasetItem]
    calibration: list[DatasetItem]
    """Good parts only."""
    holdout: list[DatasetItem]


def divide(version: DatasetVersion, share: float, seed: int) -> Sides:
    """Keeps `share` of the good training parts out of training, by whole parts."""
    items = version.side("train")
    labels = group_labels([(item.group, item.label) for item in items])
    good = {group: label for group, label in labels.items() if label == GOOD}
    # Another order than that of the holdout, which would leave the same end of the list.
    kept = choose_groups(good, share, seed + 1)
    return Sides(
        [item for item in items if item.group not in kept],
        [item for item in items if item.group in kept],
        version.side("holdout"),
    )


class Builder:
    """One build: its inputs, and who watches it."""

    def __init__(
        self,
        config: TrainerConfig,
        store: Store,
        version: DatasetVersion,
        clock: Clock,
        watch: Watch,
        *,
        origin: bundle.Origin | None = None,
        champion: bytes | None = None,
        recorder: Recorder | None = None,
        shares: list[Shares] | None = None,
        beside: dict[str, Any] | None = None,
    ) -> None:
        """`shares` has the training take the steps of an earlier one; `beside` are figures that
        stand in the evaluation beside those of the holdout."""
        _check(config, version)
        self._config, self._store, self._version = config, store, version
        self._clock, self._watch, self._champion = clock, watch, champion
        self._origin = origin or bundle.Origin(
            champion=archive.digest(champion) if champion else None
        )
        self._recorder, self._shares, self._beside = recorder, shares, beside or {}
        self._log = ShareLog(recorder.shares() if recorder else None)

    def build(self) -> Built:
        """Raises LoupeErrors: DataError, TrainingError, StoppedError, ..."""
        self._tell(0, "reading images")
        threshold = self._config.threshold
        sides = divide(self._version, threshold.calibration_share, self._config.train.seed)
        images = load_images(self._store, sides.fit, self._config.preprocess())
        kept = load_images(self._store, sides.calibration, self._config.preprocess())
        shares = self._shares[0] if self._shares else None
        model = train(images, self._config, self._clock, self._training, self._start(), shares)
        promise = calibrate(model, logits(model, kept.pixels), threshold.overkill_at_most)
        with tempfile.TemporaryDirectory(prefix="loupe-build-") as folder:
            made = self._draft(Path(folder), model, images, promise)
            return self._finish(made, sides)

    def _start(self) -> bytes | None:
        """The champion's weights, where it has them and the configuration asks for them."""
        if self._champion is None or not self._config.train.warm_start:
            return None
        return archive.read(self._champion)[1].get(WEIGHTS)

    def _training(self, progress: Progress) -> bool:
        self._log.add(progress.step, progress.share)
        if self._recorder is not None:
            figures = {"share": progress.share, "loss": progress.loss}
            self._recorder.metric(progress.step, figures)
        share = _LOADED + (_TRAINED - _LOADED) * progress.share
        return self._watch(
            share, f"training: step {progress.step}, loss {progress.loss:.3f}, "
            f"{progress.left_s:.0f} s left",
        )  # fmt: skip

    def _tell(self, share: float, message: str) -> None:
        if self._watch(share, message):
            raise StoppedError("the build was stopped")

    def _draft(
        self, folder: Path, model: InspectionNet, images: Images, promise: Promise
    ) -> bundle.Draft:
        self._tell(_TRAINED, "exporting and quantizing")
        rng = np.random.default_rng(self._config.train.seed)
        count = min(self._config.quantize.calibration_images, len(images))
        export(model, images.pixels[rng.permutation(len(images))[:count]], folder)
        chosen = golden.choose(model, images, self._config.bundle.golden, THRESHOLD)
        frames = [load_frame(self._store, images.items[int(i)], self._config.input.channels)
                  for i in chosen]  # fmt: skip
        verdicts = [Verdict.REJECT if images.defective[i] else Verdict.ACCEPT for i in chosen]
        return bundle.draft(
            folder, self._config, created_s=self._clock.time(), promise=promise,
            classes=bundle.classes_of([item.label for item in self._version.items]),
            golden=list(zip(frames, verdicts, strict=True)), weights=pack_weights(model),
            lineage=bundle.lineage(self._config, self._version.digest(), self._origin),
        )  # fmt: skip

    def _finish(self, made: bundle.Draft, sides: Sides) -> Built:
        self._tell(_EXPORTED, "measuring on the holdout")
        bundle.score_golden(made)
        samples = load_samples(self._store, sides.holdout)
        judged = judge_all(made.folder, made.manifest, samples)
        memory = evaluation.memory_of(made.folder, made.manifest, judged)
        report = evaluation.report(made.manifest, samples, judged, memory)
        report["gates"] = gates.check(report, self._config.gates)
        report |= self._beside
        if self._origin.sample_of is not None:
            report = not_releasable(report)
        first = evaluation.primary(judged)
        self._tell(_MEASURED, "packing")
        comparison = self._compare(first, samples)
        frames = [load_frame(self._store, item, self._config.input.channels)
                  for item in sides.fit[:_REFERENCE_FRAMES]]  # fmt: skip
        made.update({
            **self._facts(made),
            bundle.EVALUATION: bundle.evaluation_json(report),
            bundle.REFERENCE: bundle.reference(
                self._config.line.name, frames, first.scores.tolist(), made.manifest.created_s
            ),
        })  # fmt: skip
        return Built(made.pack(), made.manifest, report, comparison)

    def _facts(self, made: bundle.Draft) -> dict[str, bytes]:
        """How the bundle was trained, for who trains it again."""
        start = self._start()
        return training_files(
            self._config, made.manifest.lineage, self._log,
            dataset=self._origin.sample_of or self._version.digest(),
            threads=torch.get_num_threads(), smoke=self._origin.sample_of is not None,
            start=archive.digest(self._champion) if self._champion and start else None,
        )  # fmt: skip

    def _compare(self, challenger: Judged, samples: Samples) -> dict[str, Any]:
        if self._champion is None:
            return {}
        champion = judge_archive(self._champion, samples)
        return compare(
            Side(champion.scores, champion.rejected),
            Side(challenger.scores, challenger.rejected),
            samples.defective,
            samples.groups,
        )


def _check(config: TrainerConfig, version: DatasetVersion) -> None:
    if config.line.name != version.line:
        raise ConfigError("configuration and data set are of different lines",
                          expected=version.line, found=config.line.name)  # fmt: skip
    if config.input.channels != version.channels:
        raise ConfigError(
            "input.channels does not fit the data set",
            expected=str(version.channels),
            found=str(config.input.channels),
            remedy="Change the configuration, or import with --channels.",
        )


def export(model: InspectionNet, calibration: NDArray[np.uint8], folder: Path) -> None:
    """Writes all four models below `folder`; `calibration` is [n, h, w, c] uint8."""
    for file in bundle.model_files():
        (folder / file.file).parent.mkdir(parents=True, exist_ok=True)
    for room in (onnx, litert):
        fp32, int8 = (folder / room.model_file(p, 1.0).file for p in Precision)
        room.export_fp32(model, calibration[0], fp32)
        room.quantize(fp32, calibration, int8)


def judge_archive(data: bytes, samples: Samples) -> Judged:
    """What a packed bundle's first model says of the samples. Raises BundleError, ModelError."""
    with tempfile.TemporaryDirectory(prefix="loupe-bundle-") as folder:
        manifest = archive.unpack(data, Path(folder) / "bundle")
        return judge(Path(folder) / "bundle", manifest, PRIMARY, samples)
