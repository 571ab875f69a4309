"""A live camera as a source: read all the time by a thread of its own, and watched from outside.

A library's own timeout is not trusted: a network camera that froze was seen to hold a read for nine
seconds. Where no new frame came for `max_age_s`, the reader is given up with its connection, whatever
it is doing, and the camera is opened anew by another; what the old one may still bring is not taken.
"""

import threading
from collections.abc import Callable

from edge_agent.link_rules import Backoff
from edge_agent.source.base import CameraLost, Captured
from edge_agent.source.camera import Camera, Grab
from edge_agent.source.numbers import Numbers
from edge_agent.source.parts import Parts, Signalled
from edge_agent.source.reader import Reader
from edge_agent.trigger.base import Signal, Trigger
from fleet_contract.clock import Clock
from fleet_contract.inference.preprocess import Frame

_OPEN_S = 10.0
"""How long connecting may take; cameras probe, negotiate and wake up."""
_MOST_STUCK = 4
"""Readers that hang in their library; with so many no further one is started until one ends."""
_CLOSE_S = 3.0


class LiveSource:
    """`connect` makes a camera for each connection; `next` is called by one thread."""

    def __init__(
        self,
        connect: Callable[[], Camera],
        parts: Parts,
        numbers: Numbers,
        trigger: Trigger | None,
        clock: Clock,
        *,
        max_age_s: float,
        idle_is_life: bool = False,
    ) -> None:
        """`idle_is_life`: frames come only when the line sends parts, waiting is no fault."""
        self._connect, self._parts, self._numbers = connect, parts, numbers
        self._trigger, self._clock = trigger, clock
        self._max_age_s, self._idle_is_life = max_age_s, idle_is_life
        self._changed = threading.Condition()
        self._reader: Reader | None = None
        self._stuck: list[Reader] = []
        self._backoff = Backoff(0.2, 5)
        self._retry_s = -1e9
        self._lost = ""
        self._said = False

    def start(self, after: int | None) -> None:
        self._numbers.begin(after or 0)
        if self._trigger is not None:
            self._trigger.start(self._fire)

    def next(self, timeout_s: float) -> Captured | None:
        """As in `Source`; while the camera is lost it is looked for, and parts still come."""
        end_s = self._clock.monotonic() + timeout_s
        with self._changed:
            while True:
                now = self._clock.monotonic()
                self._supervise(now)
                captured = self._parts.take(now)
                if captured is not None:
                    return captured
                if now >= end_s or (self._lost and not self._said):
                    break
                wakes = [end_s, self._parts.wake_s() or end_s, now + self._max_age_s / 4]
                self._changed.wait(max(min(wakes) - now, 0.001))
            if self._lost:
                self._said = True
                raise CameraLost(self._lost, reconnecting=True)
        return None

    def close(self) -> None:
        if self._trigger is not None:
            self._trigger.close()
        with self._changed:
            reader, self._reader = self._reader, None
        if reader is not None:
            reader.close(_CLOSE_S)
        self._numbers.close()

    # Watching the reader, with the lock held.

    def _supervise(self, now_s: float) -> None:
        self._stuck = [reader for reader in self._stuck if reader.running]
        reader = self._reader
        if reader is None:
            if now_s >= self._retry_s and len(self._stuck) < _MOST_STUCK:
                self._reader = Reader(
                    self._connect(), self, self._clock, idle_is_life=self._idle_is_life
                )
            return
        age_s = now_s - reader.turned_s
        limit_s = self._max_age_s if reader.opened else _OPEN_S
        if reader.error:
            self._give_up(reader, reader.error, now_s)
        elif age_s > limit_s:
            seen = "answer" if self._idle_is_life else "new frame"
            what = f"no {seen}" if reader.opened else "no connection"
            self._give_up(reader, f"{what} for {age_s:.1f} s", now_s)
        elif reader.lives and self._lost:
            self._lost, self._said = "", False
            self._backoff.reset()

    def _give_up(self, reader: Reader, why: str, now_s: float) -> None:
        reader.close(0)
        self._stuck.append(reader)
        self._reader = None
        self._lost = why
        self._retry_s = now_s + self._backoff.next()

    # From the threads of the reader and of the trigger.

    def wants(self, reader: Reader, grab: Grab) -> bool:
        with self._changed:
            return reader is self._reader and self._parts.wants(grab.arrival_s)

    def deliver(self, reader: Reader, grab: Grab, frame: Frame | None) -> None:
        with self._changed:
            if reader is self._reader:
                self._parts.add(grab, frame)
                self._changed.notify_all()

    def ended(self, reader: Reader) -> None:  # noqa: ARG002 - whichever it is, look
        with self._changed:
            self._changed.notify_all()

    def _fire(self, signal: Signal) -> int:
        assert isinstance(self._parts, Signalled)
        with self._changed:
            number = self._parts.fire(signal)
            self._changed.notify_all()
            return self._numbers.base + number
