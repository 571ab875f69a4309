"""The manifest of a bundle: everything that an agent must know to inspect one line.

One atomic unit: weights, preprocessing, thresholds, classes, reference statistics, golden samples,
evaluation, lineage. Immutable and addressed by the digest of its archive (`fleet_contract.archive`).
"""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fleet_contract.errors import BundleError, UnknownRecipe
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
    depth: Literal[8, 16] = 8
    """Bits of a channel: frames are uint8 or uint16."""
    min_side: int = Field(ge=8)
    max_side: int = Field(le=16384)
    """Shortest and longest side of a frame in pixels."""
    grey_range: tuple[float, float] = (0.0, 255.0)
    """Mean grey level that a frame may have, in levels of 8 bits, both ends included."""


class Tiling(Part):
    """A grid of tiles over a frame that shows too little in one view: each goes through the graph.

    The frame is resized so that `rows` x `columns` tiles of the graph's size cover it exactly. The
    part's score is the largest of its views.
    """

    rows: int = Field(ge=1, le=32)
    columns: int = Field(ge=1, le=32)
    overlap: int = Field(ge=0, le=1024)
    """Pixels of the resized frame that neighbours share."""
    whole: bool = True
    """Whether the whole frame, resized to the graph's size, is one more view: for large, faint
    defects."""


class Preprocess(Part):
    """From a frame (RGB or grey) to the graph's input; normalisation is inside the graph."""

    height: int = Field(ge=8, le=4096)
    width: int = Field(ge=8, le=4096)
    """Of the graph's input in pixels."""
    interpolation: Literal["area", "linear"] = "area"
    channel_order: Literal["rgb", "bgr", "grey"]
    levels: tuple[int, int] | None = None
    """Of a frame of 16 bits: the values that become 0 and 255."""
    tiling: Tiling | None = None

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width that a frame is resized to before it is cut into tiles."""
        if self.tiling is None:
            return self.height, self.width
        rows, columns, overlap = self.tiling.rows, self.tiling.columns, self.tiling.overlap
        return (
            rows * self.height - (rows - 1) * overlap,
            columns * self.width - (columns - 1) * overlap,
        )


class ModelFile(Part):
    """One model for one runtime at one precision.

    Input: pixel values 0 to 255, batch of one. Outputs, by name: `score` (one logit), `mask`
    (a map of logits, any stride) and, where a line tells classes of defect apart, `kinds` (such a
    map for every class).
    """

    runtime: Runtime
    precision: Precision
    file: BundlePath
    member: int = Field(default=0, ge=0, lt=16)
    """Which of an ensemble's members it is."""
    dtype: Literal["uint8", "float32"]
    layout: Literal["nhwc", "nchw"]
    score_tolerance: float = Field(gt=0, le=1)
    """Largest allowed difference of a golden sample's score between devices."""


class Zone(Part):
    """A region of the frame with acceptance limits of its own: a polygon."""

    name: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    corners: list[tuple[float, float]] = Field(min_length=3, max_length=64)
    """(x, y) in shares of the frame's width and height, 0 to 1."""


class Limit(Part):
    """What is still accepted: a defect beyond any of these rejects its part.

    Holds for defects whose centre lies in `zone` (`*`: anywhere) and of class `kind` (`*`: any).
    """

    zone: str = "*"
    kind: str = "*"
    max_count: int | None = Field(default=None, ge=0)
    """Defects of a part; larger ones than the sizes below count by themselves."""
    max_length_mm: float | None = Field(default=None, ge=0)
    """Longest side of the smallest rectangle around a defect."""
    max_area_mm2: float | None = Field(default=None, ge=0)


class Acceptance(Part):
    """Limits on located defects, beside the score."""

    mm_per_pixel: float | None = Field(default=None, gt=0)
    """Of the frames that the bundle was made with; a station's own calibration goes before. None:
    sizes are known at calibrated stations alone, and elsewhere what has a limit is not accepted."""
    level: float = Field(default=0.5, gt=0, lt=1)
    """Heat above which a place belongs to a defect."""
    zones: list[Zone] = Field(default_factory=list, max_length=64)
    limits: list[Limit] = Field(min_length=1, max_length=256)

    @property
    def limits_sizes(self) -> bool:
        """Whether any limit is in mm."""
        return any(limit.max_length_mm or limit.max_area_mm2 for limit in self.limits)

    @model_validator(mode="after")
    def _zones_are_known(self) -> Self:
        names = [zone.name for zone in self.zones]
        if len(set(names)) != len(names):
            raise ValueError("two zones have the same name")
        unknown = {limit.zone for limit in self.limits} - {"*", *names}
        if unknown:
            raise ValueError(f"limits name zones that are not there: {', '.join(sorted(unknown))}")
        return self


class Recipe(Part):
    """A variant of the line's product: what it decides otherwise."""

    threshold: float | None = Field(default=None, ge=0, le=1)
    acceptance: Acceptance | None = None


class Decision(Part):
    """From a score to a verdict. Scores are in [0, 1]; below the threshold is an accept.

    At or above it is a reject, unless `acceptance` allows every defect that was located.
    """

    threshold: float = Field(ge=0, le=1)
    near_margin: float = Field(default=0.1, ge=0, le=1)
    """Scores closer than this to the threshold are worth a person's look."""
    promise: dict[str, float | str] = Field(default_factory=dict)
    """What the threshold was chosen for, such as {"overkill_at_most": 0.02}."""
    acceptance: Acceptance | None = None
    recipes: dict[str, Recipe] = Field(default_factory=dict, max_length=256)
    """By the recipe's name, as the line's trigger gives it."""

    @property
    def sized(self) -> list[Acceptance]:
        """Limits in mm, of the line and of its recipes."""
        known = [self.acceptance, *(recipe.acceptance for recipe in self.recipes.values())]
        return [one for one in known if one is not None and one.limits_sizes]

    @property
    def needs_scale(self) -> bool:
        """Whether some of them are for calibrated stations alone."""
        return any(one.mm_per_pixel is None for one in self.sized)

    def for_recipe(self, recipe: str) -> "Decision":
        """With what the recipe decides otherwise; '' is the line without a recipe.

        Raises UnknownRecipe for one that the bundle does not know.
        """
        if not recipe:
            return self
        chosen = self.recipes.get(recipe)
        if chosen is None:
            raise UnknownRecipe(
                f"the bundle has no recipe {recipe!r}",
                expected=", ".join(sorted(self.recipes)) or "no recipe at all",
                found=repr(recipe[:80]),
                remedy="Add it to [recipes] of the line's configuration, or correct the trigger.",
            )
        threshold = self.threshold if chosen.threshold is None else chosen.threshold
        acceptance = chosen.acceptance or self.acceptance
        return self.model_copy(update={"threshold": threshold, "acceptance": acceptance})


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
    models: list[ModelFile] = Field(min_length=1, max_length=64)
    ensemble: Literal["mean", "max", "vote"] = "mean"
    """How members of one runtime and precision make one score: mean or maximum of their scores,
    or the share of them that reject."""
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

    def models_for(self, runtime: Runtime, precision: Precision) -> list[ModelFile]:
        """The members of that runtime and precision, in order. Raises BundleError without any."""
        found = [m for m in self.models if (m.runtime, m.precision) == (runtime, precision)]
        if found:
            return sorted(found, key=lambda model: model.member)
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
