"""What the last parts looked like: the inspection's loop puts, whoever looks takes. Never waits for either.

A small copy of a picture is kept a few times a second at most; a whole frame is copied only where
somebody asked for the next one.
"""

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet_contract.clock import Clock
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame
from fleet_contract.messages import PartVerdict
from fleet_contract.names import Verdict

KEPT = 24
SMALL_SIDE = 320
"""Pixels of the longer side of a small picture, at most."""
# Accepts are many and alike; each reject is looked at, up to thirty a second.
_EVERY_S = {Verdict.ACCEPT: 0.5, Verdict.REJECT: 0.03, Verdict.NO_DECISION: 0.2}


@dataclass(frozen=True, slots=True)
class Seen:
    """One part."""

    verdict: PartVerdict
    picture: Frame | None
    """A copy, made small by leaving out pixels; None where there was no time or no frame."""
    heat: NDArray[np.float32] | None
    """Logits of the defect map, [h, w] at the model's stride; None without a judgement."""


class Lately:
    """`part` belongs to the inspection's thread, the rest to any."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: deque[Seen] = deque(maxlen=KEPT)
        self._pictured: deque[Seen] = deque(maxlen=KEPT)
        self._copied_s = dict.fromkeys(Verdict, -1e9)
        self._wanted = threading.Event()
        self._whole: Seen | None = None
        self._came = threading.Event()

    def part(self, verdict: PartVerdict, frame: Frame | None, judgement: Judgement | None) -> None:
        """One part's end."""
        heat = judgement.mask_logits if judgement else None
        now = self._clock.monotonic()
        due = now - self._copied_s[verdict.verdict] >= _EVERY_S[verdict.verdict]
        if due and frame is not None:
            self._copied_s[verdict.verdict] = now
        seen = Seen(verdict, small(frame) if due else None, heat)
        self._seen.append(seen)
        if seen.picture is not None:
            self._pictured.append(seen)
        if frame is not None and self._wanted.is_set():
            self._wanted.clear()
            self._whole = Seen(verdict, frame.copy(), heat)
            self._came.set()

    def last(self) -> list[Seen]:
        """The last parts, the newest first, and behind them older ones that have a picture."""
        seen = list(self._seen)[::-1]
        oldest = seen[-1].verdict.number if seen else 0
        older = [one for one in list(self._pictured)[::-1] if one.verdict.number < oldest]
        return seen + older

    def find(self, part: int) -> Seen | None:
        """A part by its number, while it is kept."""
        return next((seen for seen in self.last() if seen.verdict.number == part), None)

    def whole(self, timeout_s: float) -> Seen | None:
        """The next part with its whole frame; the newest small one where none comes in time."""
        self._came.clear()
        self._wanted.set()
        if self._came.wait(timeout_s):
            # Held no longer than it is looked at: a frame is large.
            seen, self._whole = self._whole, None
            if seen is not None:
                return seen
        self._wanted.clear()
        return next((seen for seen in self.last() if seen.picture is not None), None)


def small(frame: Frame | None) -> Frame | None:
    """A copy of at most SMALL_SIDE pixels a side, by leaving out rows and columns."""
    if frame is None:
        return None
    step = -(-max(frame.shape[:2]) // SMALL_SIDE)
    return frame[::step, ::step].copy()
