"""Images of a folder in the order of their names, at a rate: deterministic, numbered from 1."""

import time
from pathlib import Path
from typing import Literal

from edge_agent.source.base import Captured
from fleet_contract.clock import Clock
from fleet_contract.errors import ConfigError, DataError
from fleet_contract.inference.preprocess import decode_image


class FolderSource:
    """Trigger n is file (n - 1), modulo the number of files when repeating."""

    def __init__(
        self,
        path: Path,
        *,
        pattern: str,
        rate_hz: float,
        channels: int,
        repeat: bool,
        clock: Clock,
        depth: Literal[8, 16] = 8,
    ) -> None:
        """Raises ConfigError for a folder without images."""
        self._files = sorted(path.glob(pattern))
        if not self._files:
            raise ConfigError(
                f"no image in {path}", expected=f"files like {pattern}", remedy="Check source.path."
            )
        self._channels, self._depth, self._repeat, self._clock = channels, depth, repeat, clock
        self._period = 1 / rate_hz
        self._done = 0
        self._due = clock.monotonic()

    def start(self, after: int | None) -> None:
        self._done = after or 0
        self._due = self._clock.monotonic()

    def next(self, timeout_s: float) -> Captured | None:
        wait = self._due - self._clock.monotonic()
        if self._at_end() or wait > timeout_s:
            time.sleep(timeout_s)
            return None
        time.sleep(max(wait, 0))
        self._due += self._period
        file = self._files[self._done % len(self._files)]
        self._done += 1
        try:
            frame = decode_image(file.read_bytes(), self._channels, self._depth)
        except (DataError, OSError):
            frame = None
        return Captured(frame, self._done, self._clock.monotonic())

    def _at_end(self) -> bool:
        return not self._repeat and self._done >= len(self._files)

    def close(self) -> None:
        """Nothing is held."""
