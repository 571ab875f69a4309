"""Which frame is which part, and what waits for the inspection. Rules only: values and times in.

A part gets its number when it is known to be one: by a signal at once, by the camera's own trigger
with its frame, in free run when the inspection takes it. So numbers never skip, and what has a
number ends in a verdict. Here are the frames of one camera; of several, each has rules of its own.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent.source.base import (
    CAMERA_SETTINGS,
    GAP,
    INCOMPLETE,
    OVERRUN,
    Captured,
    FrameCounts,
)
from edge_agent.source.camera import Grab
from edge_agent.source.numbers import Numbers
from edge_agent.source.set_by import SetBy
from edge_agent.trigger.base import Signal
from fleet_contract.inference.preprocess import Frame


@dataclass(frozen=True, slots=True)
class Burst:
    """The frames of one camera for one part."""

    frames: int = 1
    spacing_s: float = 0.0
    """From one frame to the next, at least."""
    timeout_s: float = 0.5
    """A part whose next frame does not come for this long ends without its further ones."""


ONE_FRAME = Burst()


class Parts(Protocol):
    """Not thread-safe."""

    def wants(self, arrival_s: float) -> bool:
        """Whether a frame that arrived then is to be decoded."""

    def add(self, grab: Grab, frame: Frame | None) -> None:
        """A frame that was wanted; None where it could not be decoded or is not whole."""

    def take(self, now_s: float) -> Captured | None:
        """The next part, or view of one, or None where there is none yet."""

    def wake_s(self) -> float | None:
        """When `take` may have one without a further frame; None: not by itself."""

    def away(self, lost: bool) -> None:
        """Whether the camera is lost: what waits for a frame need not wait long then."""


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

    def away(self, lost: bool) -> None:
        """Nothing waits for a frame."""


class _Triggered:
    """Parts that have their number: none is dropped, but only `limit` pictures are held."""

    def __init__(self, limit: int, counts: FrameCounts) -> None:
        self._limit, self._counts = limit, counts
        self._held = 0
        self._ready: deque[Captured] = deque()

    def _next(self) -> Captured | None:
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


class LineTriggered(_Triggered):
    """The camera's own input is the trigger: every frame that it sends is a part, or a view of one."""

    def __init__(
        self, limit: int, counts: FrameCounts, numbers: Numbers, burst: Burst = ONE_FRAME
    ) -> None:
        super().__init__(limit, counts)
        self._numbers, self._burst = numbers, burst
        self._number = self._view = 0
        self._ends_s = math.inf

    def wants(self, arrival_s: float) -> bool:  # noqa: ARG002 - all are
        return True

    def add(self, grab: Grab, frame: Frame | None) -> None:
        self._expire(grab.arrival_s)
        self._counts.incomplete += not grab.whole
        for _ in range(grab.missed):
            self._add(Captured(None, 0, grab.arrival_s, GAP))
        self._add(_captured(grab, frame))

    def _add(self, captured: Captured) -> None:
        if self._view == 0:
            self._number = self._numbers.next()
        self._append(replace(captured, trigger=self._number, view=self._view))
        self._view = (self._view + 1) % self._burst.frames
        self._ends_s = captured.arrival_s + self._burst.timeout_s if self._view else math.inf

    def _expire(self, now_s: float) -> None:
        while now_s > self._ends_s:
            # Each is added as late as the last that came: once the part is whole there is no end.
            self._add(Captured(None, 0, self._ends_s - self._burst.timeout_s, GAP))

    def take(self, now_s: float) -> Captured | None:
        self._expire(now_s)
        return self._next()

    def wake_s(self) -> float | None:
        return None if self._ends_s == math.inf else self._ends_s

    def away(self, lost: bool) -> None:
        """A part that has begun ends as soon without its camera."""


@dataclass(slots=True)
class _Pending:
    """A part that waits for its next view."""

    number: int
    signal: Signal
    due_s: float
    """When that is before the camera."""
    timeout_s: float
    view: int = 0


class Signalled(_Triggered):
    """The first frame that arrives `delay_s` after a signal, or later, is its part's first view.

    Without one for `timeout_s` more the part ends without a picture. Parts begin in their order,
    and one whose recipe asks for other settings waits until the camera has them.
    """

    def __init__(
        self,
        limit: int,
        counts: FrameCounts,
        delay_s: float,
        timeout_s: float,
        burst: Burst = ONE_FRAME,
        set_by: SetBy | None = None,
    ) -> None:
        super().__init__(limit, counts)
        self._delay_s, self._timeout_s, self._burst = delay_s, timeout_s, burst
        self._set_by = set_by or SetBy({})
        self._pending: deque[_Pending] = deque()
        self._away = False

    def away(self, lost: bool) -> None:
        self._away = lost

    def fire(self, number: int, signal: Signal) -> None:
        """A signal, and the number of its part."""
        # One that passed waits no time, but its turn behind those that wait for their frame.
        due_s = -math.inf if signal.passed else signal.at_s + self._delay_s
        self._pending.append(_Pending(number, signal, due_s, self._timeout_s))
        self._set_by.want(self._pending[0].signal.recipe)

    def _served(self, now_s: float) -> Iterator[_Pending]:
        """Those that a frame of now belongs to, in their order."""
        for pending in list(self._pending):
            if not self._set_by.stands(pending.signal.recipe):
                return
            if pending.due_s <= now_s:
                yield pending
            elif pending.view == 0:
                # It has not begun: nor may those behind it.
                return

    def wants(self, arrival_s: float) -> bool:
        return any(True for _ in self._served(arrival_s))

    def add(self, grab: Grab, frame: Frame | None) -> None:
        self._counts.incomplete += not grab.whole
        for pending in self._served(grab.arrival_s):
            if pending.signal.passed:
                self._end(pending, GAP)
                continue
            captured = _captured(grab, frame, pending.number)
            self._append(_named(replace(captured, view=pending.view), pending.signal))
            pending.view += 1
            pending.due_s = grab.arrival_s + self._burst.spacing_s
            pending.timeout_s = self._burst.timeout_s
            if pending.view == self._burst.frames:
                self._done(pending)

    def take(self, now_s: float) -> Captured | None:
        while self._pending and self._set_by.refused(self._pending[0].signal.recipe):
            self._counts.unset += 1
            self._set_by.again()
            self._end(self._pending[0], CAMERA_SETTINGS)
        for pending in list(self._pending):
            if now_s >= self._ends_s(pending):
                self._end(pending, GAP)
            elif pending.view == 0:
                break
        return self._next()

    def _ends_s(self, pending: _Pending) -> float:
        """When there is no more hope for its next view."""
        if pending.signal.passed:
            return -math.inf
        if self._away:
            # Until it is found again the part has passed; other cameras' views are not held up.
            return pending.due_s
        ready_s = self._set_by.ready_s(pending.signal.recipe, pending.signal.at_s)
        return max(pending.due_s, ready_s) + pending.timeout_s

    def _end(self, pending: _Pending, reason: str) -> None:
        for view in range(pending.view, self._burst.frames):
            unseen = Captured(None, pending.number, pending.signal.at_s, reason, view=view)
            self._append(_named(unseen, pending.signal))
        self._done(pending)

    def _done(self, pending: _Pending) -> None:
        self._pending.remove(pending)
        if self._pending:
            self._set_by.want(self._pending[0].signal.recipe)

    def wake_s(self) -> float | None:
        return min(map(self._ends_s, self._pending), default=None)


def _named(captured: Captured, signal: Signal) -> Captured:
    return replace(captured, recipe=signal.recipe, external_id=signal.external_id)
