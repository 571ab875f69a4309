"""Several frames of a counted source as one part: frames 1 to N are part 1, the next N part 2."""

from collections import deque
from dataclasses import replace

from edge_agent.source.base import GAP, Captured, Source
from fleet_contract.clock import Clock


class Grouped:
    """Frames are numbered by the camera, so that none is taken for another part's."""

    def __init__(self, source: Source, frames: int, timeout_s: float, clock: Clock) -> None:
        """A part whose next frame does not come for `timeout_s` ends without its further ones."""
        self._source, self._frames = source, frames
        self._timeout_s, self._clock = timeout_s, clock
        self._ready: deque[Captured] = deque()
        self._last: int | None = None
        """Number of the last frame that was given, or given up."""
        self._came_s = 0.0

    def start(self, after: int | None) -> None:
        self._last = None if after is None else after * self._frames
        self._ready.clear()
        self._source.start(self._last)

    def next(self, timeout_s: float) -> Captured | None:
        """As in `Source`."""
        if not self._ready:
            captured = self._source.next(timeout_s)
            if captured is not None:
                self._add(captured)
            elif self._open() and self._clock.monotonic() > self._came_s + self._timeout_s:
                self._pass_over(self._end())
        return self._ready.popleft() if self._ready else None

    def _open(self) -> bool:
        return self._last is not None and self._last % self._frames != 0

    def _end(self) -> int:
        """The number of the last frame of the part that is open."""
        return -(-(self._last or 0) // self._frames) * self._frames

    def _add(self, captured: Captured) -> None:
        number = captured.trigger
        if self._last is None:
            if (number - 1) % self._frames:
                # Its part began before this station.
                return
            self._last = number - 1
        if number <= self._last:
            return
        if self._open():
            self._pass_over(min(self._end(), number - 1))
        # Parts between that were passed over as a whole are no business of views.
        self._last = max(self._last, (number - 1) // self._frames * self._frames)
        self._pass_over(number - 1)
        self._give(captured)

    def _pass_over(self, through: int) -> None:
        """Frames up to that number did not come."""
        for number in range((self._last or 0) + 1, through + 1):
            self._give(Captured(None, number, self._clock.monotonic(), GAP))

    def _give(self, captured: Captured) -> None:
        part, view = divmod(captured.trigger - 1, self._frames)
        self._last, self._came_s = captured.trigger, captured.arrival_s
        self._ready.append(replace(captured, trigger=part + 1, view=view))

    def close(self) -> None:
        self._source.close()
