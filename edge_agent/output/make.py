"""The outputs that the configuration asks for."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.config import StationConfig
from edge_agent.output.guarded import Guarded, GuardSettings, Tell
from edge_agent.output.jsonl import JsonLines
from edge_agent.output.settings import GuardedOutput, JsonlOutput
from fleet_contract.errors import ConfigError

LOCK = "guard.lock"
_LIBRARIES = {"modbus": "pymodbus", "gpio": "gpiod", "mqtt": "paho"}


def make_files(config: StationConfig) -> list[JsonLines]:
    """Outputs that the agent writes by itself."""
    return [JsonLines(one.file) for one in config.outputs if isinstance(one, JsonlOutput)]


def make_guarded(config: StationConfig, ready: Callable[[], bool], tell: Tell) -> Guarded | None:
    """The guard of the outputs that act at the line; None where there are none.

    Raises ConfigError where an output's library is missing.
    """
    outputs = [_settings(one) for one in config.outputs if not isinstance(one, JsonlOutput)]
    if not outputs:
        return None
    settings = GuardSettings(outputs, config.guard.silence, config.data.folder / LOCK)
    return Guarded(settings, ready, tell)


def _settings(output: GuardedOutput) -> dict[str, Any]:
    library = _LIBRARIES.get(output.kind)
    if library is not None and importlib.util.find_spec(library) is None:
        raise ConfigError(
            f"output {output.kind} needs the Python package {library}, which is not installed",
            remedy="Install the agent with its extra: loupe[agent].",
        )
    values = output.model_dump(mode="python")
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
