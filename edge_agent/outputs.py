"""Acting on a verdict at the line: the reject gate's side of the agent.

Anything but an explicit accept is handled as no_decision by what stands behind it: an output that
hears nothing must hold the part back.
"""

import sys
from pathlib import Path
from typing import Protocol, TextIO

from edge_agent.config import OutputConfig
from fleet_contract.messages import PartVerdict


class Output(Protocol):
    """Told of each verdict as soon as it stands, once or, after a restart, again by its number."""

    def act(self, verdict: PartVerdict) -> None:
        """Must not block; a failure is an OSError and is counted by the caller."""

    def close(self) -> None:
        """Lets go."""


class NoOutput:
    """Nothing is connected."""

    def act(self, verdict: PartVerdict) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Nothing is held."""


class JsonLines:
    """Each verdict as one JSON line; the file `-` is standard output."""

    def __init__(self, path: Path) -> None:
        self._own = path.name != "-"
        self._file: TextIO = path.open("a", encoding="utf-8") if self._own else sys.stdout

    def act(self, verdict: PartVerdict) -> None:
        self._file.write(verdict.model_dump_json() + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._own:
            self._file.close()


def make_output(config: OutputConfig) -> Output:
    """The output that the configuration asks for."""
    return JsonLines(config.file) if config.kind == "jsonl" else NoOutput()
