"""Live cameras as a source: one, or several that a trigger makes one part of."""

import threading
from collections.abc import Sequence
from dataclasses import replace

from edge_agent.source.base import CameraLost, Captured
from edge_agent.source.numbers import Numbers
from edge_agent.source.parts import Signalled
from edge_agent.source.supervised import Supervised
from edge_agent.trigger.base import Signal, Trigger
from fleet_contract.clock import Clock

_CLOSE_S = 3.0


class LiveSource:
    """`next` is called by one thread."""

    def __init__(
        self,
        cameras: Sequence[Supervised],
        numbers: Numbers,
        trigger: Trigger | None,
        clock: Clock,
        *,
        frames: int = 1,
    ) -> None:
        """`frames` that each camera gives for a part; several cameras need a trigger to all."""
        self._cameras, self._frames = cameras, frames
        self._numbers, self._trigger, self._clock = numbers, trigger, clock
        self._changed = threading.Condition()
        for camera in cameras:
            camera.changed = self._changed

    def start(self, after: int | None) -> None:
        self._numbers.begin(after or 0)
        if self._trigger is not None:
            self._trigger.start(self._fire)

    def next(self, timeout_s: float) -> Captured | None:
        """As in `Source`; while a camera is lost it is looked for, and parts still come."""
        end_s = self._clock.monotonic() + timeout_s
        with self._changed:
            while True:
                now = self._clock.monotonic()
                for camera in self._cameras:
                    camera.supervise(now)
                captured = self._take(now)
                if captured is not None:
                    return captured
                if now >= end_s or any(one.lost and not one.said for one in self._cameras):
                    break
                self._changed.wait(max(self._wake_s(now, end_s) - now, 0.001))
            self._tell_lost()
        return None

    def close(self) -> None:
        if self._trigger is not None:
            self._trigger.close()
        with self._changed:
            readers = [camera.release() for camera in self._cameras]
        for reader in readers:
            if reader is not None:
                reader.close(_CLOSE_S)
        self._numbers.close()

    # With the lock held.

    def _take(self, now_s: float) -> Captured | None:
        for index, camera in enumerate(self._cameras):
            captured = camera.parts.take(now_s)
            if captured is not None:
                return replace(captured, view=index * self._frames + captured.view)
        return None

    def _wake_s(self, now_s: float, end_s: float) -> float:
        wakes = [camera.parts.wake_s() or end_s for camera in self._cameras]
        return min(end_s, *wakes, *(now_s + camera.max_age_s / 4 for camera in self._cameras))

    def _tell_lost(self) -> None:
        lost = [camera for camera in self._cameras if camera.lost]
        for camera in sorted(lost, key=lambda one: one.said):
            camera.said = True
            raise CameraLost(camera.lost, reconnecting=True, camera=camera.name)

    # From the trigger's thread.

    def _fire(self, signal: Signal) -> int:
        with self._changed:
            number = self._numbers.next()
            for camera in self._cameras:
                assert isinstance(camera.parts, Signalled)
                camera.parts.fire(number, signal)
            self._changed.notify_all()
            return self._numbers.base + number
