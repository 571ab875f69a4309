"""A line's training configuration: one TOML file, every value checked, quantities with their unit."""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from fleet_contract.errors import ConfigError
from fleet_contract.manifest import Acceptance, Recipe
from fleet_contract.messages import expected_and_found
from fleet_contract.names import LineName
from fleet_contract.units import Seconds

_PIXELS = re.compile(r"^\s*([0-9]+)\s*px\s*$")
Share = Annotated[float, Field(gt=0, lt=1)]
_LEAST_KEPT_OUT, _MOST_KEPT_OUT = 0.2, 0.35


def parse_pixels(value: object) -> int:
    """`"4px"` -> 4. Raises ValueError that names the unit for anything else."""
    match = _PIXELS.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"expected whole pixels with their unit, such as '4px', found {value!r}")
    return int(match[1])


Pixels = Annotated[int, BeforeValidator(parse_pixels)]


def parse_off(value: object) -> object:
    """`"off"` -> None; anything else as it is."""
    return None if value == "off" else value


Optional01 = Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(parse_off)]
OptionalPositive = Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(parse_off)]


def parse_auto(value: object) -> object:
    """`"auto"` -> None; anything else as it is."""
    return None if value == "auto" else value


T = TypeVar("T")
Auto = Annotated[T | None, BeforeValidator(parse_auto)]

Family = Literal["supervised", "good_only", "statistical", "plugin"]
NetworkName = Literal["light", "pretrained"]


class Table(BaseModel):
    """A table of the file: immutable, and a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LineTable(Table):
    """[line]"""

    name: LineName


class InputTable(Table):
    """[input]: what the graph sees; frames of another size are resized. None, "auto" in the file, is
    chosen from the data."""

    width: Auto[Annotated[int, Field(ge=64, le=2048, multiple_of=16)]] = None
    height: Auto[Annotated[int, Field(ge=64, le=2048, multiple_of=16)]] = None
    """Of the graph's input, in pixels; both or none."""
    tiles: tuple[int, int] = (1, 1)
    """Rows and columns, where width and height are given."""
    overlap: Pixels = Field(default=64, ge=0, le=1024)
    """Of tiles, in pixels of the resized frame."""
    channels: Auto[Literal[1, 3]] = None
    levels: Auto[tuple[int, int]] = None
    """Of frames of 16 bits: the values that become 0 and 255."""
    grey_range: Auto[tuple[float, float]] = None
    """Mean grey level that a frame may have, 0 to 255."""
    min_side: int = Field(default=64, ge=8)
    max_side: int = Field(default=8192, le=16384)

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height: expected both as numbers or both as 'auto'")
        if self.tiles != (1, 1) and self.width is None:
            raise ValueError("tiles: expected width and height with them, or [1, 1]")
        if min(self.tiles) < 1 or max(self.tiles) > 32:
            raise ValueError(f"tiles: expected 1 to 32 rows and columns, found {list(self.tiles)}")
        return self


class AugmentTable(Table):
    """[augment]: how far the line's light and position may move, so that the model expects it."""

    gain: tuple[float, float] = (0.55, 1.4)
    offset: tuple[float, float] = (-8.0, 8.0)
    noise: tuple[float, float] = (0.0, 4.0)
    colour: float = Field(default=0.04, ge=0, le=0.5)
    slope: float = Field(default=0.15, ge=0, le=1)
    """Fall of light across the picture, as a share of it."""
    shift: Pixels = Field(default=8, ge=0, le=256)
    zoom: Auto[Annotated[float, Field(ge=0, le=2)]] = None
    """Up to 1 + zoom times as large or as small. Auto: 0.35 where defects are learnt from, more than
    a fixture allows, for few defects do not show all the sizes that they may have; else 0.12."""
    stretch: float = Field(default=0.12, ge=0, le=0.5)
    """Change of the ratio of the sides."""
    rotate: float = Field(default=2.0, ge=0, le=180)
    """Degrees to either side."""
    flip: bool = True

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for name in ("gain", "offset", "noise"):
            low, high = getattr(self, name)
            if low > high or (name != "offset" and low < 0) or (name == "gain" and low <= 0):
                raise ValueError(f"{name}: expected [lowest, highest], found [{low}, {high}]")
        return self


class TrainTable(Table):
    """[train]"""

    family: Family = "supervised"
    network: NetworkName = "pretrained"
    plugin: str = Field(default="", max_length=200)
    """Of the family "plugin": `module:function`, see `trainer.plugin`."""
    time_budget: Seconds = Field(default=360.0, gt=0, le=7 * 86400)
    epochs: int = Field(default=60, ge=1)
    """Views learnt from, over the number of images."""
    patience: float = Field(default=0.3, gt=0, le=1)
    """Share of the training without a lower loss after which it is cut short."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    batch: int = Field(default=12, ge=2, le=256)
    width_factor: float = Field(default=1.0, ge=0.125, le=4)
    """Breadth of the light network."""
    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    synthetic: Auto[Annotated[float, Field(ge=0, le=1)]] = None
    """Share of the good pictures in a batch that are given an anomaly; None: half of them where a
    line is learnt from good parts only, else none."""
    members: int = Field(default=1, ge=1, le=8)
    """Of an ensemble; each is trained for its share of the time."""
    ensemble: Literal["mean", "max", "vote"] = "mean"
    warm_start: bool = True
    """Go on from the champion's weights, where there is a champion of the same network."""
    threads: int = Field(default=0, ge=0, le=256)
    """Cores to use; 0: all."""

    @property
    def anomalies(self) -> float:
        """`synthetic`, decided."""
        if self.synthetic is not None:
            return self.synthetic
        return 0.5 if self.family == "good_only" else 0.0

    @model_validator(mode="after")
    def _plugin_is_named(self) -> Self:
        if (self.family == "plugin") != bool(self.plugin):
            raise ValueError(
                "plugin: expected 'module:function' with family = \"plugin\", and only there"
            )
        return self


class ThresholdTable(Table):
    """[threshold]"""

    promise: Literal["overkill", "escape"] = "overkill"
    """Which of the two bounds the threshold keeps."""
    overkill_at_most: Share = 0.02
    escape_at_most: Share = 0.05
    calibration_share: Auto[Annotated[float, Field(gt=0, lt=0.6)]] = None
    """Share of the training parts that are kept out of training, to choose the threshold on."""

    def kept_out(self, good_parts: int) -> float:
        """That share, of a training with so many good parts.

        Auto: as many good ones as the promise of overkill needs, within a fifth and 0.35: good parts
        are many, and a threshold that rests on few keeps its promise by luck. Training needs the
        defective ones itself: a fifth for a promise of escapes.
        """
        if self.calibration_share is not None:
            return self.calibration_share
        if self.promise == "escape" or not good_parts:
            return _LEAST_KEPT_OUT
        wanted = (1 / self.overkill_at_most - 1) / good_parts
        return min(max(wanted, _LEAST_KEPT_OUT), _MOST_KEPT_OUT)


class QuantizeTable(Table):
    """[quantize]"""

    calibration_images: int = Field(default=64, ge=4, le=2000)
    max_change: float = Field(default=0.02, ge=0, le=1)
    """Largest mean change of a score by int8; beyond it the layers that change most stay float."""


class GatesTable(Table):
    """[gates]: what a bundle must measure; one that does not is made, marked, and never released.

    None, "off" in the file, asks nothing.
    """

    max_flips: float = Field(default=0.05, ge=0, le=1)
    """Largest share of the holdout on which int8 may decide otherwise than fp32."""
    min_auroc: Optional01 = None
    min_worst_slice_auroc: Optional01 = None
    """Of the slices with five good and five defective images or more."""
    max_latency_ms: OptionalPositive = None
    """99th percentile, of the model that stands first."""
    max_memory_mb: OptionalPositive = None
    max_size_mb: OptionalPositive = None
    """Of the model files that stand first; a MB is 10^6 bytes."""
    max_bias: Optional01 = None
    """Largest difference of overkill or escape between two values of a slice column."""


class BundleTable(Table):
    """[bundle]"""

    epoch: int = Field(default=1, ge=1)
    hardware: list[str] = Field(default=["*"], min_length=1)
    golden: int = Field(default=8, ge=2, le=64)


class TrainerConfig(Table):
    """The whole file."""

    line: LineTable
    input: InputTable = InputTable()
    train: TrainTable = TrainTable()
    augment: AugmentTable = AugmentTable()
    threshold: ThresholdTable = ThresholdTable()
    quantize: QuantizeTable = QuantizeTable()
    acceptance: Acceptance | None = None
    """What is still accepted, by zone, class and size; without it the score alone decides."""
    recipes: dict[str, Recipe] = Field(default_factory=dict)
    """Variants of the product, by name."""
    gates: GatesTable = GatesTable()
    bundle: BundleTable = BundleTable()

    def digest(self) -> str:
        """SHA-256 of the configuration with every default filled in."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def parse_config(text: str, source: str) -> TrainerConfig:
    """The configuration in TOML `text`. Raises ConfigError that names `source`, key and remedy."""
    try:
        return TrainerConfig.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{source}: {_problem(error)}") from error


def load_config(path: Path) -> TrainerConfig:
    """The configuration in a file. Raises ConfigError."""
    try:
        return parse_config(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}",
                          remedy="`loupe-trainer new LINE` prints a complete one.") from error  # fmt: skip


def _problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{key}: {expected_and_found(problem['msg'], problem['input'])}"
    table = next(iter(problem["loc"])) if len(problem["loc"]) > 1 else ""
    field = TrainerConfig.model_fields.get(str(table))
    tables: type[BaseModel] = TrainerConfig
    if field is not None and field.annotation is not None:
        tables = field.annotation
    known = tables.model_fields
    return f"{key}: no such key; expected one of {', '.join(known)}"
