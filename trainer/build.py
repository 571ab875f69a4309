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
from fleet_contract.inference.preprocess import Frame, preprocess
from fleet_contract.inference.views import views
from fleet_contract.manifest import Manifest, Preprocess
from fleet_contract.names import Verdict
from trainer import bundle, evaluation, gates, golden
from trainer.calibrate import Promise, calibrate
from trainer.compare import Side, compare
from trainer.config import ThresholdTable, TrainerConfig
from trainer.data.images import FIRST_KIND, Images, load_frame, load_images
from trainer.data.split import choose_groups, group_labels
from trainer.data.statistics import describe
from trainer.data.store import Store
from trainer.data.validate import validate
from trainer.family import Task, fit
from trainer.geometry import Geometry, choose, classes
from trainer.judge import PRIMARY, Judged, judge, judge_all
from trainer.measures import auroc, average_precision
from trainer.member import Ensemble, TorchMember
from trainer.report import ReportData, dataset_counts, gallery, html_report, model_card
from trainer.runs.facts import ShareLog, Shares, training_files
from trainer.runs.inputs import not_releasable
from trainer.runs.record import Recorder
from trainer.samples import Samples, load_samples
from trainer.statistical import fit_statistical
from trainer.synthetic import add_anomaly
from trainer.training import Progress, StoppedError, learns_on
from trainer.weights import weights_name

_LOOKED, _LOADED, _TRAINED, _EXPORTED, _MEASURED = 0.01, 0.03, 0.8, 0.9, 0.97
"""Share of the whole that is done after each step."""
_REFERENCE_FRAMES = 200
_GOLDEN_FROM = 64
ANOMALY = "anomaly"
"""The class of a line that has shown no defect."""

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
    """Good parts; defective ones too, where the promise is of escapes."""
    holdout: list[DatasetItem]


def divide(version: DatasetVersion, table: ThresholdTable, seed: int) -> Sides:
    """Keeps a share of the good training parts out of training, by whole parts.

    Where the promise is of escapes, as many of the others too.
    """
    defective = table.promise == "escape"
    items = version.side("train")
    labels = group_labels([(item.group, item.label) for item in items])
    good = {group: label for group, label in labels.items() if defective or label == GOOD}
    share = table.kept_out(sum(label == GOOD for label in good.values()))
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
        checkpoint: Path | None = None,
        shares: list[Shares] | None = None,
        beside: dict[str, Any] | None = None,
    ) -> None:
        """`checkpoint` is a file that the training's state is kept in, and gone on from if it is of
        the same training. `shares` has the training take the steps of an earlier one; `beside` are figures that
        stand in the evaluation beside those of the holdout."""
        _check(config, version)
        self._config, self._store, self._version = config, store, version
        self._clock, self._watch, self._champion = clock, watch, champion
        self._origin = origin or bundle.Origin(
            champion=archive.digest(champion) if champion else None
        )
        self._recorder, self._shares, self._beside = recorder, shares, beside or {}
        self._checkpoint = checkpoint
        self._log = ShareLog(recorder.shares() if recorder else None)

    def build(self) -> Built:
        """Raises LoupeErrors: DataError, TrainingError, StoppedError, ..."""
        self._tell(0, "looking at the data set")
        facts = describe(self._store, self._version)
        geometry = choose(self._config.input, self._version, facts)
        findings = validate(self._store, self._version, geometry.schema)
        findings.refuse_errors()
        self._tell(_LOOKED, f"reading images: {geometry.why}")
        threshold = self._config.threshold
        sides = divide(self._version, threshold, self._config.train.seed)
        images, kept = (
            load_images(self._store, side, geometry.preprocess, classes(self._version))
            for side in (sides.fit, sides.calibration)
        )
        with tempfile.TemporaryDirectory(prefix="loupe-build-") as folder:
            ensemble = fit(images, self._task(geometry.preprocess, Path(folder)))
            pictures = self._pictures(images, geometry.preprocess)
            for member in ensemble.members:
                member.settle(pictures)
            promise = calibrate(ensemble, kept, threshold)
            made, quantization = self._draft(
                Path(folder), geometry, ensemble, images, promise, pictures
            )
            measured = {"geometry": geometry.why, "quantization": quantization,
                        "findings": [one.model_dump() for one in findings.findings],
                        "baseline": self._baseline(geometry, sides, images)}  # fmt: skip
            return self._finish(made, sides, measured)

    def _task(self, spec: Preprocess, folder: Path) -> Task:
        return Task(
            self._config, spec, self._clock, folder, self._training, starts=self._starts(),
            shares=self._shares, checkpoint=self._checkpoint, key=self._version.digest(),
        )  # fmt: skip

    def _starts(self) -> dict[int, bytes]:
        """The champion's weights by member, where it has them and the configuration asks for them."""
        if self._champion is None or not self._config.train.warm_start:
            return {}
        files = archive.read(self._champion)[1]
        found = {m: files.get(weights_name(m)) for m in range(self._config.train.members)}
        return {member: data for member, data in found.items() if data is not None}

    def _baseline(self, geometry: Geometry, sides: Sides, images: Images) -> dict[str, Any]:
        """What a simple method reaches on the same holdout, to stand beside."""
        settings = self._config.train
        if settings.family == "statistical" or settings.network != "pretrained":
            return {}
        self._tell(_EXPORTED, "fitting the baseline")
        # It knows each place of the part, so it sees pictures whole.
        spec = geometry.preprocess.model_copy(update={"tiling": None})
        model = fit_statistical(images, self._config, (spec.height, spec.width))
        kept = load_images(self._store, sides.holdout, spec, images.classes)
        scores = Ensemble([TorchMember(model, model.final)], "mean", spec).member_logits(kept)[0]
        return {"method": "statistical head on good parts (PaDiM), fp32",
                "image_auroc": auroc(scores, kept.defective),
                "image_ap": average_precision(scores, kept.defective)}  # fmt: skip

    def _training(self, member: int, progress: Progress) -> bool:
        self._log.add(progress.step, progress.share, member)
        if self._recorder is not None:
            figures = {"member": member, "share": progress.share, "loss": progress.loss,
                       "learning_rate": progress.learning_rate}  # fmt: skip
            self._recorder.metric(progress.step, figures)
        members = self._config.train.members
        share = _LOADED + (_TRAINED - _LOADED) * (member + progress.share) / members
        who = f"training member {member + 1} of {members}" if members > 1 else "training"
        return self._watch(
            share,
            f"{who}: step {progress.step}, loss {progress.loss:.3f}, {progress.left_s:.0f} s left",
        )

    def _tell(self, share: float, message: str) -> None:
        if self._watch(share, message):
            raise StoppedError("the build was stopped")

    def _draft(
        self,
        folder: Path,
        geometry: Geometry,
        ensemble: Ensemble,
        images: Images,
        promise: Promise,
        pictures: NDArray[np.uint8],
    ) -> tuple[bundle.Draft, dict[str, Any]]:
        self._tell(_TRAINED, "exporting and quantizing")
        config = self._config
        frames = self._golden(geometry, ensemble, images, promise.threshold)
        # int8 must reach as far as the scores of golden samples do.
        strongest = [_strongest(frame, ensemble) for frame, _ in frames]
        pictures = np.concatenate([pictures, np.stack(strongest)])
        exported = [
            member.export(folder, index, pictures, config.quantize.max_change)
            for index, member in enumerate(ensemble.members)
        ]
        content = bundle.Content(
            geometry.schema, geometry.preprocess,
            models=[file for one in exported for file in one.files], promise=promise,
            classes=images.classes or [ANOMALY],
            golden=frames,
            weights=[member.weights() for member in ensemble.members],
            lineage=bundle.lineage(config, self._version.digest(), self._origin),
            created_s=self._clock.time(),
        )  # fmt: skip
        quantization = {f"member {i}": one.quantization for i, one in enumerate(exported)}
        return bundle.draft(folder, config, content), quantization

    def _pictures(self, images: Images, spec: Preprocess) -> NDArray[np.uint8]:
        """Views by which int8 learns the range of every activation."""
        config = self._config
        rng = np.random.default_rng(config.train.seed)
        shown = images.take(rng.permutation(len(images))[: config.quantize.calibration_images])
        pictures = some_views(shown, spec, rng)
        if config.train.anomalies:
            # What was not seen while calibrating would lie outside of int8's range.
            for picture in pictures[::2]:
                picture[:], _ = add_anomaly(picture, picture, FIRST_KIND, rng)
        return pictures

    def _golden(
        self, geometry: Geometry, ensemble: Ensemble, images: Images, threshold: float
    ) -> list[tuple[Frame, Verdict]]:
        count, schema = self._config.bundle.golden, geometry.schema
        images = images.take(_some_of_each(images.defective, self._config.train.seed))
        if not images.defective.any():
            return golden.with_anomalies(
                ensemble,
                images,
                count,
                threshold,
                lambda item: load_frame(self._store, item, schema.channels, schema.depth),
            )
        chosen = golden.choose(ensemble, images, count, threshold)
        frames = [load_frame(self._store, images.items[int(i)], schema.channels, schema.depth)
                  for i in chosen]  # fmt: skip
        verdicts = [Verdict.REJECT if images.defective[i] else Verdict.ACCEPT for i in chosen]
        return list(zip(frames, verdicts, strict=True))

    def _finish(self, made: bundle.Draft, sides: Sides, measured: dict[str, Any]) -> Built:
        self._tell(_EXPORTED, "measuring on the holdout")
        bundle.score_golden(made)
        samples = load_samples(self._store, sides.holdout)
        judged = judge_all(made.folder, made.manifest, samples)
        memory = evaluation.memory_of(made.folder, made.manifest, judged)
        report = evaluation.report(made.manifest, samples, judged, memory)
        report["gates"] = gates.check(report, self._config.gates)
        report |= {**measured, **self._beside}
        if self._origin.sample_of is not None:
            report = not_releasable(report)
        first = evaluation.primary(judged)
        self._tell(_MEASURED, "packing")
        comparison = self._compare(first, samples)
        schema = made.manifest.input
        frames = [load_frame(self._store, item, schema.channels, schema.depth)
                  for item in sides.fit[:_REFERENCE_FRAMES]]  # fmt: skip
        shown = ReportData(
            made.manifest, report, comparison, dataset_counts(self._version.items),
            gallery(made.folder, made.manifest, samples, report),
        )  # fmt: skip
        made.update({
            **self._facts(made),
            bundle.REPORT: html_report(shown).encode(),
            bundle.MODEL_CARD: model_card(shown).encode(),
            bundle.EVALUATION: bundle.evaluation_json(report),
            bundle.REFERENCE: bundle.reference(
                self._config.line.name, frames, first.scores.tolist(), made.manifest.created_s
            ),
        })  # fmt: skip
        return Built(made.pack(), made.manifest, report, comparison)

    def _facts(self, made: bundle.Draft) -> dict[str, bytes]:
        """How the bundle was trained, for who trains it again."""
        start = self._starts()
        return training_files(
            self._config, made.manifest.lineage, self._log,
            dataset=self._origin.sample_of or self._version.digest(),
            threads=torch.get_num_threads(), smoke=self._origin.sample_of is not None,
            start=archive.digest(self._champion) if self._champion and start else None,
            device=learns_on(),
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
    if config.input.channels not in (None, version.channels):
        raise ConfigError(
            "input.channels does not fit the data set",
            expected=f"{version.channels}, or auto",
            found=str(config.input.channels),
            remedy="Change the configuration, or import with --channels.",
        )


def some_views(images: Images, spec: Preprocess, rng: np.random.Generator) -> NDArray[np.uint8]:
    """[n, height, width, channels] uint8: of each picture one view, the whole one as often as any."""
    chosen = []
    for index in range(len(images)):
        seen = views(images.pixels[index], spec)
        chosen.append(seen[int(rng.integers(len(seen)))])
    return np.stack(chosen)


def _some_of_each(defective: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """Indices of good and of defective images, as many as golden samples are well chosen from."""
    rng = np.random.default_rng(seed)
    sides = (np.flatnonzero(~defective), np.flatnonzero(defective))
    return np.concatenate([rng.permutation(side)[:_GOLDEN_FROM] for side in sides])


def _strongest(frame: Frame, ensemble: Ensemble) -> NDArray[np.uint8]:
    """The view of a frame that looks most defective, [height, width, channels] uint8."""
    seen = np.stack(views(preprocess(frame, ensemble.spec), ensemble.spec))
    return np.asarray(seen[int(ensemble.members[0].logits(seen).argmax())], np.uint8)


def judge_archive(data: bytes, samples: Samples) -> Judged:
    """What a packed bundle's first model says of the samples. Raises BundleError, ModelError."""
    with tempfile.TemporaryDirectory(prefix="loupe-bundle-") as folder:
        manifest = archive.unpack(data, Path(folder) / "bundle")
        return judge(Path(folder) / "bundle", manifest, PRIMARY, samples)
