"""A live camera that is read all the time by a thread of its own, and watched from outside.

A library's own timeout is not trusted: a network camera that froze was seen to hold a read for nine
seconds. Where no new frame came for `max_age_s`, the reader is given up with its connection, whatever
it is doing, and the camera is opened anew by another; what the old one may still bring is not taken.
"""

import threading
from collections.abc import Callable

from edge_agent.link_rules import Backoff
from edge_agent.source.camera import Camera, Grab
from edge_agent.source.parts import Parts
from edge_agent.source.reader import Reader
from edge_agent.source.set_by import SetBy
from fleet_contract.clock import Clock
from fleet_contract.inference.preprocess import Frame

_OPEN_S = 10.0
"""How long connecting may take; cameras probe, negotiate and wake up."""
_MOST_STUCK = 4
"""Readers that hang in their library; with so many no further one is started until one ends."""


class Supervised:
    """`connect` makes a camera for each connection. `changed` is the lock of all that happens here."""

    def __init__(
        self,
        connect: Callable[[], Camera],
        parts: Parts,
        clock: Clock,
        *,
        max_age_s: float,
        idle_is_life: bool = False,
        name: str = "",
        set_by: SetBy | None = None,
    ) -> None:
        """`idle_is_life`: frames come only when the line sends parts, waiting is no fault. `name`
        is the camera's, where there are several; `set_by` says to which recipe it is set."""
        self.parts, self.name, self.max_age_s = parts, name, max_age_s
        self._connect, self._clock = connect, clock
        self._idle_is_life, self._set_by = idle_is_life, set_by or SetBy({})
        self.changed = threading.Condition()
        """Told of each frame; several cameras of one part share one."""
        self._reader: Reader | None = None
        self._stuck: list[Reader] = []
        self._backoff = Backoff(0.2, 5)
        self._retry_s = -1e9
        self.lost = ""
        """Why the camera is away; '' while it is there."""
        self.said = False
        """Whether that was told."""

    # With the lock held.

    def supervise(self, now_s: float) -> None:
        """Opens what is due, gives up what hangs, notes what is back."""
        self._stuck = [reader for reader in self._stuck if reader.running]
        reader = self._reader
        if reader is None:
            if now_s >= self._retry_s and len(self._stuck) < _MOST_STUCK:
                self._set_by.connected()
                self._reader = Reader(
                    self._connect(), self, self._clock, idle_is_life=self._idle_is_life
                )
            return
        age_s = now_s - reader.turned_s
        limit_s = self.max_age_s if reader.opened else _OPEN_S
        if reader.error:
            self._give_up(reader, reader.error, now_s)
        elif age_s > limit_s:
            seen = "answer" if self._idle_is_life else "new frame"
            what = f"no {seen}" if reader.opened else "no connection"
            self._give_up(reader, f"{what} for {age_s:.1f} s", now_s)
        elif reader.lives and self.lost:
            self.lost, self.said = "", False
            self.parts.away(False)
            self._backoff.reset()

    def _give_up(self, reader: Reader, why: str, now_s: float) -> None:
        reader.close(0)
        self._stuck.append(reader)
        self._reader = None
        self.lost = why
        self.parts.away(True)
        self._retry_s = now_s + self._backoff.next()

    def release(self) -> Reader | None:
        """The reader, which is nobody's from now on."""
        reader, self._reader = self._reader, None
        return reader

    # From the reader's thread.

    def to_set(self, reader: Reader) -> str | None:
        with self.changed:
            return self._set_by.to_set() if reader is self._reader else None

    def was_set(self, reader: Reader, recipe: str, *, taken: bool) -> None:
        with self.changed:
            if reader is self._reader:
                self._set_by.was_set(recipe, self._clock.monotonic(), taken=taken)
                self.changed.notify_all()

    def wants(self, reader: Reader, grab: Grab) -> bool:
        with self.changed:
            if reader is not self._reader or not self._set_by.passes(grab.arrival_s):
                return False
            return self.parts.wants(grab.arrival_s)

    def deliver(self, reader: Reader, grab: Grab, frame: Frame | None) -> None:
        with self.changed:
            if reader is self._reader:
                self.parts.add(grab, frame)
                self.changed.notify_all()

    def ended(self, reader: Reader) -> None:  # noqa: ARG002 - whichever it is, look
        with self.changed:
            self.changed.notify_all()
