"""Each verdict as a line of a file, for who reads it on the spot."""

import sys
from pathlib import Path
from typing import TextIO

from fleet_contract.messages import PartVerdict


class JsonLines:
    """Each verdict as one JSON line; the file `-` is standard output."""

    def __init__(self, path: Path) -> None:
        self._own = path.name != "-"
        self._file: TextIO = path.open("a", encoding="utf-8") if self._own else sys.stdout

    def expect(self, part: int, due_s: float) -> None:
        """A record has no use for what is not judged yet."""

    def act(self, verdict: PartVerdict) -> None:
        self._file.write(verdict.model_dump_json() + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._own:
            self._file.close()
