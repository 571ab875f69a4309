"""Time as an argument: rules take a `Clock`, tests give them one that they turn by hand."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for durations; both in seconds."""

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back while the machine is up."""


class SystemClock:
    """The machine's own clocks."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to; `advance` moves `monotonic` and `time` together."""

    def __init__(self, time_s: float = 1_700_000_000.0, monotonic_s: float = 0.0) -> None:
        self._time, self._monotonic = time_s, monotonic_s

    def time(self) -> float:
        return self._time

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Both clocks go on by `seconds` (at least 0)."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back: {seconds} s")
        self._time += seconds
        self._monotonic += seconds

    def set_wrong(self, seconds: float) -> None:
        """Wall time jumps by `seconds`, either way, as when a clock is set; durations go on."""
        self._time += seconds
