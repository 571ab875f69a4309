"""`board.toml`: what a device is, and with what it runs its models.

Rendered by `firmware_configs` from the profile of a board, read by the agent:

    hardware = "x86-64-box"
    runtime = "onnx"
    precision = "int8"
    threads = 1
    memory_limit = "600MB"
"""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet_contract.errors import ConfigError
from fleet_contract.messages import first_problem
from fleet_contract.names import LineName, Precision, Runtime
from fleet_contract.units import Bytes


class Board(BaseModel):
    """A device's hardware profile; unknown keys are refused, so that a typo is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hardware: LineName
    """Name of the profile; a bundle lists those that it may run on."""
    runtime: Runtime
    precision: Precision
    threads: int = Field(ge=1, le=64)
    """Cores that one model may use."""
    memory_limit: Bytes = Field(ge=64 * 10**6)
    """Memory that the whole agent may hold, in bytes; written with its unit (`600MB`)."""


def read_board(path: Path) -> Board:
    """The board in the TOML file `path`.

    Raises ConfigError that names the file, the key and what would be right.
    """
    try:
        with path.open("rb") as file:
            return Board.model_validate(tomllib.load(file))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}",
            remedy="Render it: python -m firmware_configs render BOARD --out DIR.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is not a board: {first_problem(error)}") from error
