"""The ring buffer of frames: what a client may still fetch."""

import threading
import time
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """One exposed frame: its trigger number, PNG bytes, and CLOCK_MONOTONIC when captured."""

    trigger: int
    png: bytes
    captured_monotonic_ns: int


class FrameBuffer:
    """Frames in order of trigger, at most `capacity`; the oldest goes first. Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self._frames: deque[Frame] = deque(maxlen=capacity)
        self._changed = threading.Condition()
        self._frozen = False
        self._closed = False

    def put(self, frame: Frame) -> None:
        """Keep a frame and wake whoever waits for one."""
        with self._changed:
            self._frames.append(frame)
            self._changed.notify_all()

    def span(self) -> tuple[int, int]:
        """Numbers of the oldest and the newest frame, (0, 0) before the first."""
        with self._changed:
            return self._span()

    def next_after(self, number: int, wait_s: float) -> tuple[Frame | None, tuple[int, int]]:
        """The oldest frame with a number above `number`, waiting up to `wait_s` seconds.

        A negative number waits for a frame newer than all that are here. While frozen, nothing
        is answered at all. Returns the frame, if any, and the span at that moment.
        """
        with self._changed:
            after = self._span()[1] if number < 0 else number
            deadline = time.monotonic() + wait_s
            while not self._closed:
                left = deadline - time.monotonic()
                if not self._frozen:
                    frame = next((f for f in self._frames if f.trigger > after), None)
                    if frame is not None or left <= 0:
                        return frame, self._span()
                self._changed.wait(None if self._frozen else left)
            return None, self._span()

    @property
    def frozen(self) -> bool:
        """Whether frames are held back."""
        with self._changed:
            return self._frozen

    def freeze(self, frozen: bool) -> None:
        """Hold back every answer, or let them go."""
        with self._changed:
            self._frozen = frozen
            self._changed.notify_all()

    def close(self) -> None:
        """Let go everyone who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _span(self) -> tuple[int, int]:
        return (self._frames[0].trigger, self._frames[-1].trigger) if self._frames else (0, 0)
