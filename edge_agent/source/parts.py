"""Which frame is which part, and what waits for the inspection. Rules only: values and times in.

A part gets its number when it is known to be one: by a signal at once, by the camera's own trigger
with its frame, in free run when the inspection takes it. So numbers never skip, and what has a
number ends in a verdict.
"""

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent.source.base import GAP, INCOMPLETE, OVERRUN, Captured, FrameCounts
from edge_agent.source.camera import Grab
from edge_agent.source.numbers import Numbers
from edge_agent.trigger.base import Signal
from fleet_contract.inference.preprocess import Frame


class Parts(Protocol):
    """Not thread-safe."""

    def wants(self, arrival_s: float) -> bool:
        """Whether a frame that arrived then is to be decoded."""

    def add(self, grab: Grab, frame: Frame | None) -> None:
        """A frame that was wanted; None where it could not be decoded or is not whole."""

    def take(self, now_s: float) -> Captured | None:
        """The next part, or None where there is none yet."""

    def wake_s(self) -> float | None:
        """When `take` may have one without a further frame; None: not by itself."""


def _captured(grab: Grab, frame: Frame | None, number: int = 0) -> Captured:
    if grab.whole:
        return Captured(frame, number, grab.arrival_s)
    return Captured(None, number, grab.arrival_s, INCOMPLETE)


class FreeRun:
    """Every frame is a part, at most `rate_hz` of them; the oldest gives way when `limit` wait."""

    def __init__(
        self, limit: int, counts: FrameCounts, numbers: Numbers, rate_hz: float | None
    ) -> None:
        self._limit, self._counts, self._numbers = limit, counts, numbers
        self._period_s = 1 / rate_hz if rate_hz else 0.0
        self._due_s = -1e9
        self._ready: deque[Captured] = deque()

    def wants(self, arrival_s: float) -> bool:
        return arrival_s >= self._due_s

    def add(self, grab: Grab, frame: Frame | None) -> None:
        # On its beat while it keeps up, so that a camera slightly off does not lose every other.
        late = grab.arrival_s - self._due_s >= self._period_s
        self._due_s = (grab.arrival_s if late else self._due_s) + self._period_s
        self._counts.dropped += grab.missed
        self._counts.incomplete += not grab.whole
        self._ready.append(_captured(grab, frame))
        if len(self._ready) > self._limit:
            self._ready.popleft()
            self._counts.dropped += 1

    def take(self, now_s: float) -> Captured | None:  # noqa: ARG002 - nothing grows old here
        if not self._ready:
            return None
        return replace(self._ready.popleft(), trigger=self._numbers.next())

    def wake_s(self) -> float | None:
        return None


class _Triggered:
    """Parts that have their number: none is dropped, but only `limit` pictures are held."""

    def __init__(self, limit: int, counts: FrameCounts, numbers: Numbers) -> None:
        self._limit, self._counts, self._numbers = limit, counts, numbers
        self._held = 0
        self._ready: deque[Captured] = deque()

    def take(self, now_s: float) -> Captured | None:  # noqa: ARG002 - for those that expire
        if not self._ready:
            return None
        captured = self._ready.popleft()
        self._held -= captured.frame is not None
        return captured

    def _append(self, captured: Captured) -> None:
        if captured.frame is not None and self._held >= self._limit:
            captured = replace(captured, frame=None, reason=OVERRUN)
        self._held += captured.frame is not None
        self._ready.append(captured)

    def wake_s(self) -> float | None:
        return None


class LineTriggered(_Triggered):
    """The camera's own input is the trigger: every frame that it sends is a part."""

    def wants(self, arrival_s: float) -> bool:  # noqa: ARG002 - all are
        return True

    def add(self, grab: Grab, frame: Frame | None) -> None:
        self._counts.incomplete += not grab.whole
        for _ in range(grab.missed):
            self._append(Captured(None, self._numbers.next(), grab.arrival_s, GAP))
        self._append(_captured(grab, frame, self._numbers.next()))


@dataclass(frozen=True, slots=True)
class _Pending:
    number: int
    due_s: float
    signal: Signal


class Signalled(_Triggered):
    """The first frame that arrives `delay_s` after a signal, or later, is its part's.

    Without one for `timeout_s` more the part ends without a picture.
    """

    def __init__(
        self, limit: int, counts: FrameCounts, numbers: Numbers, delay_s: float, timeout_s: float
    ) -> None:
        super().__init__(limit, counts, numbers)
        self._delay_s, self._timeout_s = delay_s, timeout_s
        self._pending: deque[_Pending] = deque()

    def fire(self, signal: Signal) -> int:
        """Takes a signal; the number of its part."""
        number = self._numbers.next()
        # One that passed waits no time, but its turn behind those that wait for their frame.
        due_s = -math.inf if signal.passed else signal.at_s + self._delay_s
        self._pending.append(_Pending(number, due_s, signal))
        return number

    def wants(self, arrival_s: float) -> bool:
        return bool(self._pending) and self._pending[0].due_s <= arrival_s

    def add(self, grab: Grab, frame: Frame | None) -> None:
        self._counts.incomplete += not grab.whole
        while self.wants(grab.arrival_s):
            pending = self._pending.popleft()
            if pending.signal.passed:
                self._append(_unseen(pending))
            else:
                self._append(_named(_captured(grab, frame, pending.number), pending.signal))

    def take(self, now_s: float) -> Captured | None:
        while self._pending and now_s > self._pending[0].due_s + self._timeout_s:
            self._append(_unseen(self._pending.popleft()))
        return super().take(now_s)

    def wake_s(self) -> float | None:
        return self._pending[0].due_s + self._timeout_s if self._pending else None


def _unseen(pending: _Pending) -> Captured:
    return _named(Captured(None, pending.number, pending.signal.at_s, GAP), pending.signal)


def _named(captured: Captured, signal: Signal) -> Captured:
    return replace(captured, recipe=signal.recipe, external_id=signal.external_id)
