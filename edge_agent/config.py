"""The station's configuration: one frozen table, every quantity with its unit.

Paths are relative to the file that names them. A mistake names the file, the key and what is right.
"""

import difflib
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from edge_agent.box.settings import BoxConfig
from edge_agent.judge.settings import JudgeConfig
from edge_agent.output.settings import GuardConfig, OutputConfig
from edge_agent.section import Section
from edge_agent.source.settings import (
    CameraConfig,
    GigeSource,
    LiveConfig,
    PartConfig,
    RecipeConfig,
    SourceConfig,
)
from edge_agent.source.view_settings import check_recipes, check_views, plan_of
from edge_agent.trigger.settings import CameraTrigger, FreeTrigger, RecipeName, TriggerConfig
from edge_agent.views import Plan
from fleet_contract.errors import ConfigError
from fleet_contract.messages import expected_and_found
from fleet_contract.names import RESERVED_DEVICES, DeviceName, LineName
from fleet_contract.units import Bytes, BytesPerSecond, Hertz, Seconds


class LinkConfig(Section):
    """How the server is reached: broker, and the device's identity."""

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    ca: Path = Path("ca.crt")
    cert: Path = Path("device.crt")
    key: Path = Path("device.key")
    keepalive: Seconds = Field(default=15.0, ge=2, le=3600)
    ack_timeout: Seconds = Field(default=10.0, ge=0.2)
    """How long to wait for the server's word before sending again."""
    request_timeout: Seconds = Field(default=10.0, ge=0.2)
    max_rate: BytesPerSecond | None = Field(default=None, ge=10_000)
    """Payload bytes a second at most to the server, over some seconds; none: as the link allows."""


class TrustConfig(Section):
    """The first root metadata of both repositories, and how often to look unasked."""

    image_root: Path = Path("image-root.json")
    director_root: Path = Path("director-root.json")
    refresh: Seconds = Field(default=300.0, ge=1)


class DataConfig(Section):
    """Where everything durable lies."""

    folder: Path = Path("data")
    spool_limit: Bytes = Field(default=256_000_000, ge=20_000)
    disk_reserve: Bytes = 50_000_000
    """Free space that fetching a bundle leaves for everybody else."""


class BoardConfig(Section):
    """The hardware profile's file."""

    file: Path = Path("board.toml")


class LineConfig(Section):
    """The inspection task."""

    name: LineName
    deadline: Seconds = Field(default=0.5, gt=0)
    """From a frame's arrival to its verdict; a later verdict is no_decision."""


class WindowsConfig(Section):
    """Statistics windows."""

    length: Seconds = Field(default=60.0, ge=0.1)
    sample_rate: Hertz = Field(default=5.0, gt=0)
    """How many frames a second are measured at most."""


class SamplesConfig(Section):
    """Which images are sent for review, and how many an hour and a day at most.

    Those that the server asks for are in no quota.
    """

    audit_share: float = Field(default=0.02, ge=0, le=1)
    audit_per_hour: int = Field(default=20, ge=0)
    rejects_per_hour: int = Field(default=60, ge=0)
    near_per_hour: int = Field(default=60, ge=0)
    disagreements_per_hour: int = Field(default=200, ge=0)
    per_day: int = Field(default=1000, ge=0)
    """Of all together, in any 24 hours."""


class ProbationConfig(Section):
    """What a newly activated bundle must show on this device before it is committed."""

    parts: int = Field(default=200, ge=1)
    max_faults: int = Field(default=2, ge=0)
    """Runtime faults; one more ends probation at once."""
    max_no_decision: float = Field(default=0.05, ge=0, le=1)
    max_late: float = Field(default=0.1, ge=0, le=1)
    max_score_shift: float = Field(default=0.5, gt=0, le=1)
    """Largest distance between the mean score here and in the bundle's reference."""
    deaths: int = Field(default=2, ge=1)
    """How often the agent may die with a bundle on probation or in shadow before it is dropped."""


class TrialConfig(Section):
    """Limits of the self-test's process."""

    time_limit: Seconds = Field(default=60.0, ge=1)
    max_latency: Seconds | None = None
    """Slowest acceptable median of one judgement; none: the line's deadline."""


class ShadowConfig(Section):
    """The candidate beside the active bundle."""

    queue: int = Field(default=8, ge=1, le=1000)
    """Frames that may wait for the candidate; more are shed and counted."""


class StationConfig(Section):
    """`station.toml`."""

    device: DeviceName
    heartbeat: Seconds = Field(default=30.0, ge=0.2)
    link: LinkConfig
    trust: TrustConfig = TrustConfig()
    data: DataConfig = DataConfig()
    board: BoardConfig = BoardConfig()
    line: LineConfig
    source: SourceConfig
    cameras: tuple[CameraConfig, ...] = Field(default=(), max_length=15)
    """Further ones, that the same trigger makes one part of with the source."""
    trigger: TriggerConfig = FreeTrigger()
    part: PartConfig = Field(default=PartConfig(), validate_default=True)
    recipes: dict[RecipeName, RecipeConfig] = Field(default={}, max_length=256)
    judge: JudgeConfig | None = None
    """Who judges the line until a bundle does."""
    outputs: tuple[OutputConfig, ...] = ()
    guard: GuardConfig = GuardConfig()
    windows: WindowsConfig = WindowsConfig()
    samples: SamplesConfig = SamplesConfig()
    probation: ProbationConfig = ProbationConfig()
    trial: TrialConfig = TrialConfig()
    shadow: ShadowConfig = ShadowConfig()
    box: BoxConfig = BoxConfig()

    @field_validator("trigger")
    @classmethod
    def _fits_the_source(cls, trigger: TriggerConfig, info: ValidationInfo) -> TriggerConfig:
        source = info.data.get("source")
        if source is None or trigger == FreeTrigger():
            return trigger
        if not isinstance(source, LiveConfig):
            raise ValueError(f"no trigger: a {source.kind} source says itself what is a part")
        if isinstance(trigger, CameraTrigger) and not isinstance(source, GigeSource):
            raise ValueError(f"a trigger that a {source.kind} source can have; camera is for gige")
        return trigger

    @field_validator("cameras")
    @classmethod
    def _each_by_its_name(
        cls, cameras: tuple[CameraConfig, ...], info: ValidationInfo
    ) -> tuple[CameraConfig, ...]:
        source = info.data.get("source")
        if source is not None and cameras:
            if not isinstance(source, LiveConfig):
                raise ValueError(f"no further camera: a {source.kind} source is alone")
            if len({source.camera, *(one.camera for one in cameras)}) <= len(cameras):
                raise ValueError("a camera of its own name for each: set camera")
        return cameras

    @field_validator("part")
    @classmethod
    def _part_can_be_seen(cls, part: PartConfig, info: ValidationInfo) -> PartConfig:
        known = info.data
        if {"line", "source", "cameras", "trigger"} <= known.keys():
            check_views(
                known["source"], known["cameras"], known["trigger"], part, known["line"].deadline
            )
        return part

    @field_validator("recipes")
    @classmethod
    def _recipes_can_be_set(
        cls, recipes: dict[str, RecipeConfig], info: ValidationInfo
    ) -> dict[str, RecipeConfig]:
        if recipes and {"source", "cameras", "trigger"} <= info.data.keys():
            check_recipes(info.data["source"], info.data["cameras"], info.data["trigger"], recipes)
        return recipes

    @property
    def plan(self) -> Plan:
        """The views of each part."""
        return plan_of(self.source, self.cameras, self.part)

    @field_validator("device")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name in RESERVED_DEVICES:
            raise ValueError(f"a name that is not reserved; {name!r} is")
        return name


_PATHS = {
    "link": ("ca", "cert", "key"),
    "trust": ("image_root", "director_root"),
    "data": ("folder",),
    "board": ("file",),
    "source": ("path",),
    "trigger": ("ca", "password_file"),
    "judge": ("ca", "password_file"),
    "outputs": ("file", "ca", "password_file"),
}


def load_config(path: Path) -> StationConfig:
    """The configuration in `path`, paths made absolute. Raises ConfigError."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}",
            remedy="`loupe-agent example-config` prints a complete one.",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        config = StationConfig.model_validate(content)
    except ValidationError as error:
        raise _mistake(path, content, error) from error
    return _resolved(config, path.resolve().parent)


def _mistake(path: Path, content: dict[str, Any], error: ValidationError) -> ConfigError:
    problems = error.errors(include_url=False)
    # A misspelt key is also a missing one: its own spelling says more.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    where = _keys(content, problem["loc"])
    key = ".".join(where) or "the file"
    if problem["type"] == "extra_forbidden":
        return ConfigError(f"{path}: {key} is no setting", remedy=_suggestion(where))
    if problem["type"] == "missing":
        return ConfigError(f"{path}: {key} is missing", remedy=_AS_IN_THE_EXAMPLE)
    told = expected_and_found(problem["msg"], problem["input"])
    return ConfigError(f"{path}: {key}: {told}", remedy=_AS_IN_THE_EXAMPLE)


_AS_IN_THE_EXAMPLE = "`loupe-agent example-config` shows every setting."


def _keys(content: Any, location: tuple[int | str, ...]) -> list[str]:
    """A location in the words of the file: without the kinds by which a table is chosen."""
    where = []
    for part in location:
        if isinstance(content, dict) and part not in content and content.get("kind") == part:
            continue
        where.append(str(part))
        known = isinstance(content, dict) and part in content
        content = content[part] if known or isinstance(part, int) else None
    return where


def _suggestion(where: list[str]) -> str:
    known = _settings(where[:-1])
    near = difflib.get_close_matches(where[-1], known, 1)
    if near:
        return f"Did you mean {near[0]}?"
    return f"Settings here are: {', '.join(known)}."


def _settings(section: list[str]) -> list[str]:
    kinds: list[Any] = [StationConfig]
    for name in section:
        if name.isdigit():
            continue
        fields = [kind.model_fields[name] for kind in kinds if name in kind.model_fields]
        kinds = [one for field in fields for one in tables(field.annotation)]
    return sorted({name for kind in kinds for name in kind.model_fields})


def tables(annotation: Any) -> list[type[Section]]:
    """The tables that a setting may be: one, or one of several kinds."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in tables(part)]


def _resolved(config: StationConfig, folder: Path) -> StationConfig:
    changed = {}
    for name, keys in _PATHS.items():
        found: Section | tuple[Section, ...] | None = getattr(config, name)
        if found is None:
            continue
        changed[name] = (
            tuple(_absolute(one, keys, folder) for one in found)
            if isinstance(found, tuple)
            else _absolute(found, keys, folder)
        )
    return config.model_copy(update=changed)


def _absolute(section: Section, keys: tuple[str, ...], folder: Path) -> Section:
    paths = {key: getattr(section, key, None) for key in keys}
    values = {key: folder / path for key, path in paths.items() if path is not None}
    return section.model_copy(update=values)
