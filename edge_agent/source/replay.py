"""Replay: pictures in a fixed order at a rate, numbered from 1. Deterministic."""

import time
from typing import Protocol

from edge_agent.source.base import Captured
from fleet_contract.clock import Clock
from fleet_contract.inference.preprocess import Frame


class PastEnd(Exception):  # noqa: N818
    """There are only `count` pictures."""

    def __init__(self, count: int) -> None:
        super().__init__(f"there are {count} pictures")
        self.count = count


class Pictures(Protocol):
    """What is replayed. Used by one thread."""

    def picture(self, index: int) -> Frame | None:
        """The picture of that index from 0; None where it cannot be decoded. Raises PastEnd."""

    def close(self) -> None:
        """Lets go."""


class Replay:
    """Trigger n is picture n - 1; repeating, it begins again after the last."""

    def __init__(self, pictures: Pictures, *, rate_hz: float, repeat: bool, clock: Clock) -> None:
        self._pictures, self._repeat, self._clock = pictures, repeat, clock
        self._period = 1 / rate_hz
        self._done = 0
        self._count: int | None = None
        """How many pictures there are; known once the end was seen."""
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
        try:
            index = self._done if self._count is None else self._done % self._count
            frame = self._pictures.picture(index)
        except PastEnd as end:
            self._count = end.count
            return None
        self._due += self._period
        self._done += 1
        return Captured(frame, self._done, self._clock.monotonic())

    def _at_end(self) -> bool:
        return self._count is not None and not self._repeat and self._done >= self._count

    def close(self) -> None:
        self._pictures.close()
