"""What a board's file may say, and the rules between its parts."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import WithJsonSchema

from fleet_contract.errors import ConfigError
from fleet_contract.messages import first_problem
from fleet_contract.names import LineName, Precision, Runtime
from fleet_contract.units import parse_bytes, parse_seconds

BOARDS = Path(__file__).parent / "boards"

Size = Annotated[
    int,
    BeforeValidator(parse_bytes),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(B|[kMG]B|[KMG]iB)$"}),
]
"""Bytes, written with a unit: `600MB`."""
Span = Annotated[
    float,
    BeforeValidator(parse_seconds),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|min|h|d)$"}),
]
"""Seconds, written with a unit: `30s`."""


class Strict(BaseModel):
    """Immutable; a key that is not known is a typo, and refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Hardware(Strict):
    """What is soldered on."""

    cores: int = Field(ge=1, le=256)
    memory: Size = Field(ge=256 * 10**6)


class Inference(Strict):
    """With what the models run."""

    runtime: Runtime
    precision: Precision
    threads: int = Field(ge=1, le=64)


class Service(Strict):
    """Limits of the agent's service."""

    memory_max: Size = Field(ge=64 * 10**6)
    watchdog: Span = Field(ge=1)
    """The service manager restarts an agent that says nothing for so long."""


class BoardFile(Strict):
    """`boards/NAME.toml`."""

    name: LineName
    """Also what bundles list as hardware."""
    title: str = Field(min_length=1, max_length=80)
    vendor: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    model: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    arch: Literal["x86_64", "aarch64"]
    tested: Literal["no", "emulated", "bench", "field"]
    """How far the profile was really run: nowhere, under emulation, on a bench, in a plant."""
    hardware: Hardware
    inference: Inference
    service: Service

    @model_validator(mode="after")
    def _fits_the_hardware(self) -> Self:
        if self.inference.threads > self.hardware.cores:
            raise ValueError(
                f"inference.threads is {self.inference.threads}, the board has "
                f"{self.hardware.cores} cores"
            )
        if self.service.memory_max > self.hardware.memory * 3 // 4:
            raise ValueError(
                f"service.memory_max is {self.service.memory_max} bytes, expected at most three "
                f"quarters of the board's {self.hardware.memory} bytes: the system needs the rest"
            )
        return self


def read_board_file(path: Path) -> BoardFile:
    """The profile in `path`.

    Raises ConfigError that names the file, the key and what would be right; for a key that stands
    twice, and for a name that is not the file's, too.
    """
    try:
        with path.open("rb") as file:
            board = BoardFile.model_validate(tomllib.load(file))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not TOML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path.name} is not a board: {first_problem(error)}") from error
    if board.name != path.stem:
        raise ConfigError(
            f"{path.name} has another name inside", expected=path.stem, found=board.name
        )
    return board


def names(folder: Path = BOARDS) -> list[str]:
    """Names of the boards in `folder`, sorted."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def find(name: str, folder: Path = BOARDS) -> BoardFile:
    """The board called `name`. Raises ConfigError that lists the known ones."""
    if name not in names(folder):
        raise ConfigError(f"no board is called {name!r}", expected=", ".join(names(folder)))
    return read_board_file(folder / f"{name}.toml")


def json_schema() -> dict[str, Any]:
    """JSON Schema of a board's file, for editors."""
    schema = BoardFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
