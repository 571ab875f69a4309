"""The manifest of a bundle: everything that an agent must know to inspect one line.

One atomic unit: weights, preprocessing, thresholds, classes, reference statistics, golden samples,
evaluation, lineage. Immutable and addressed by the digest of its archive (`fleet_contract.archive`).
"""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fleet_contract.errors import BundleError
from fleet_contract.messages import first_problem
from fleet_contract.names import Digest, LineName, Precision, Runtime, Verdict
from fleet_contract.windows import Window

MANIFEST = "manifest.json"
MAX_FILES = 512
MAX_FILE_BYTES = 256 * 2**20


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    parts = path.split("/")
    if pure.is_absolute() or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"a path inside the bundle, without '..' or a root; found {path!r}")
    return path


BundlePath = Annotated[
    str, Field(max_length=99, pattern=r"^[A-Za-z0-9_./-]+$"), AfterValidator(_inside)
]


class Part(BaseModel):
    """A part of the manifest: immutable; fields of later versions are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


class FileEntry(Part):
    """One file of the bundle."""

    sha256: Digest
    size: int = Field(ge=0, le=MAX_FILE_BYTES)


class InputSchema(Part):
    """What a frame must be; one that is not is no_decision, never guessed at."""

    channels: Literal[1, 3]
    min_side: int = Field(ge=8)
    max_side: int = Field(le=16384)
    """Shortest and longest side of a frame in pixels."""


class Preprocess(Part):
    """From a frame (uint8 RGB or grey) to the graph's input; normalisation is inside the graph."""

    height: int = Field(ge=8, le=4096)
    width: int = Field(ge=8, le=4096)
    interpolation: Literal["area", "linear"] = "area"
    channel_order: Literal["rgb", "bgr", "grey"]


class ModelFile(Part):
    """One model for one runtime at one precision.

    Input: pixel values 0 to 255, batch of one. Outputs, by name: `score` (one logit) and `mask`
    (a map of logits, any stride).
    """

    runtime: Runtime
    precision: Precision
    file: BundlePath
    dtype: Literal["uint8", "float32"]
    layout: Literal["nhwc", "nchw"]
    score_tolerance: float = Field(gt=0, le=1)
    """Largest allowed difference of a golden sample's score between devices."""


class Decision(Part):
    """From a score to a verdict. Scores are in [0, 1]; at or above the threshold is a reject."""

    threshold: float = Field(ge=0, le=1)
    near_margin: float = Field(default=0.1, ge=0, le=1)
    """Scores closer than this to the threshold are worth a person's look."""
    promise: dict[str, float | str] = Field(default_factory=dict)
    """What the threshold was chosen for, such as {"overkill_at_most": 0.02}."""


class GoldenSample(Part):
    """A frame whose verdict must come out on every device, well away from the threshold."""

    file: BundlePath
    verdict: Verdict
    scores: dict[str, float]
    """Score by `runtime/precision`, as the packing machine computed it."""


class Lineage(Part):
    """Where the bundle comes from."""

    dataset: str
    config: Digest
    code: str
    seed: int
    run: str = ""
    incident: str = ""
    parent: Digest | None = None
    """The champion that the bundle was compared with."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Versions of what made it."""


class Reference(Part):
    """Statistics of the training images, in the form of one merged window."""

    window: Window


class Manifest(Part):
    """`manifest.json` of a bundle."""

    v: Literal[1] = 1
    line: LineName
    created_s: float
    epoch: int = Field(ge=1)
    """Grows when older bundles of the line must not run again."""
    hardware: list[str] = Field(min_length=1)
    """Profiles that it may run on; `*` is any."""
    input: InputSchema
    preprocess: Preprocess
    models: list[ModelFile] = Field(min_length=1, max_length=16)
    decision: Decision
    classes: list[str] = Field(min_length=1)
    golden: list[GoldenSample] = Field(min_length=2, max_length=64)
    reference: BundlePath
    evaluation: BundlePath
    lineage: Lineage
    files: dict[BundlePath, FileEntry] = Field(max_length=MAX_FILES)

    @model_validator(mode="after")
    def _files_are_listed(self) -> Self:
        used = [self.reference, self.evaluation]
        used += [model.file for model in self.models] + [sample.file for sample in self.golden]
        missing = [path for path in used if path not in self.files]
        if missing:
            raise ValueError(f"files that are used but not listed: {', '.join(missing)}")
        if MANIFEST in self.files:
            raise ValueError(f"{MANIFEST} does not list itself")
        return self

    @model_validator(mode="after")
    def _colours_fit(self) -> Self:
        grey = self.preprocess.channel_order == "grey"
        if grey != (self.input.channels == 1):
            raise ValueError("channel_order grey goes with one channel, rgb and bgr with three")
        return self

    def model_for(self, runtime: Runtime, precision: Precision) -> ModelFile:
        """The model file of that runtime and precision. Raises BundleError where there is none."""
        for model in self.models:
            if model.runtime == runtime and model.precision == precision:
                return model
        raise BundleError(
            f"the bundle has no model for {runtime}/{precision}",
            found=", ".join(f"{m.runtime}/{m.precision}" for m in self.models),
            remedy="Choose a runtime in the station's configuration that the bundle carries.",
        )


def parse_manifest(data: bytes) -> Manifest:
    """The manifest in `data` (JSON). Raises BundleError that names the field that is wrong."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise BundleError(
            f"{MANIFEST} is not valid: {first_problem(error)}",
            remedy="The bundle was not packed by loupe-trainer, or was changed after.",
        ) from error


def describe(manifest: Manifest) -> dict[str, Any]:
    """The few facts that lists and approvals show."""
    return {
        "line": manifest.line,
        "epoch": manifest.epoch,
        "runtimes": sorted({str(m.runtime) for m in manifest.models}),
        "precisions": sorted({str(m.precision) for m in manifest.models}),
        "threshold": manifest.decision.threshold,
    }
