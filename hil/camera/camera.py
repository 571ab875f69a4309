"""The camera itself: a thread that triggers, renders and exposes, and the acts on it."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from fleet_contract.errors import ConfigError, StateError
from hil.camera.buffer import Frame, FrameBuffer
from hil.camera.line import Act, ControlPlan, LineClock
from hil.camera.optics import CameraSettings, expose, shifted
from hil.render import PartSpec, Truth, render_part
from hil.render.bank import bank_for
from hil.render.spec import Image, Mask, check_rate, check_size

NOISE_STREAM = 2  # of a part's seed; body and defects have 0 and 1


@dataclass(frozen=True)
class CameraSpec:
    """What a camera process is started with; `parts` None means without end.

    Raises ConfigError for values out of range.
    """

    camera: str = "cam-1"
    seed: int = 0
    rate_hz: float = 5.0
    defect_rate: float = 0.25
    buffer: int = 128
    size: int = 256
    parts: int | None = None
    paused: bool = False
    """Whether the line stands still until it is told to go."""

    def __post_init__(self) -> None:
        check_rate("defect rate", self.defect_rate)
        check_size(self.size)
        LineClock(self.rate_hz, 0.0)
        if self.buffer < 1:
            raise ConfigError(
                "the buffer is too small",
                expected="1 frame or more",
                found=f"{self.buffer}",
                remedy="Give another --buffer.",
            )

    def part(self, trigger: int) -> PartSpec:
        """The part that lies before the camera at a trigger."""
        return PartSpec(self.seed, trigger, self.defect_rate)


class Camera:
    """Triggers parts by the line clock; keeps frames for clients and truth for the bench."""

    def __init__(self, spec: CameraSpec) -> None:
        self.spec = spec
        self.frames = FrameBuffer(spec.buffer)
        self._plan = ControlPlan(spec.rate_hz)
        self._clock = LineClock(spec.rate_hz, time.monotonic())
        self._wake = threading.Condition()
        self._truths: list[Truth] = []  # of trigger 1, 2, ...
        self._triggers = self._late = self._defective = 0
        self._paused, self._stopping = spec.paused, False
        self._thread = threading.Thread(target=self._run, name="line", daemon=True)

    def start(self) -> None:
        """Start the line."""
        bank_for(self.spec.size)  # takes longer than one part: not on the first trigger's time
        self._clock.restart(time.monotonic())
        self._thread.start()

    def stop(self) -> None:
        """Stop the line and let go everyone who waits for a frame."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self.frames.close()
        self._thread.join()

    def settings(self) -> CameraSettings:
        """The settings that the next trigger will have."""
        with self._wake:
            return self._plan.at(self._triggers + 1)

    def acts(self) -> list[Act]:
        """Every change of the controls so far, with its first trigger."""
        with self._wake:
            return list(self._plan.acts)

    def put(self, values: Mapping[str, object]) -> int:
        """Set controls; returns the first trigger that has them. Raises ConfigError."""
        with self._wake:
            self._plan.put(self._triggers + 1, values)
            return self._triggers + 1

    def ramp(self, control: str, to: object, seconds: object) -> int:
        """Ramp a control; returns the trigger at which it begins. Raises ConfigError."""
        with self._wake:
            self._plan.ramp(self._triggers + 1, control, to, seconds)
            return self._triggers + 1

    def pause(self, paused: bool) -> None:
        """Stop or go on triggering; numbers go on where they were."""
        with self._wake:
            if self._paused and not paused:
                self._clock.restart(time.monotonic())
            self._paused = paused
            self._wake.notify_all()

    def truths(self, first: int, last: int) -> list[tuple[int, Truth]]:
        """Trigger numbers and truths of the parts from `first` to `last`, both included."""
        with self._wake:
            first = max(1, first)
            known = self._truths[first - 1 : max(0, last)]
            return list(enumerate(known, start=first))

    def mask(self, trigger: int) -> Mask:
        """The defect mask of a past trigger, where the frame shows it. Raises StateError."""
        with self._wake:
            known, settings = len(self._truths), self._plan.at(trigger)
        if not 1 <= trigger <= known:
            raise StateError(
                f"there is no part with trigger number {trigger}",
                expected=f"1 to {known}" if known else "a part to have passed first",
                remedy="Ask for a trigger that the camera has seen.",
            )
        return shifted(render_part(self.spec.part(trigger), self.spec.size).mask, settings)

    def counters(self) -> dict[str, int | bool]:
        """What the line has done so far."""
        oldest, newest = self.frames.span()
        with self._wake:
            return {
                "triggers": self._triggers,
                "frames": len(self._truths),
                "defective": self._defective,
                "late": self._late,
                "oldest": oldest,
                "newest": newest,
                "paused": self._paused,
                "frozen": self.frames.frozen,
                "ended": self._triggers == self.spec.parts,
            }

    def _run(self) -> None:
        while (trigger := self._await_trigger()) is not None:
            number, settings = trigger
            captured = time.monotonic_ns()
            part = render_part(self.spec.part(number), self.spec.size)
            rng = np.random.default_rng([self.spec.seed, number, NOISE_STREAM])
            frame = expose(part.image, settings, rng, self.spec.seed)
            with self._wake:  # truth first: whoever has seen a frame can ask what it shows
                self._truths.append(part.truth)
                self._defective += part.truth.defective
            self.frames.put(Frame(number, encode_png(frame), captured))

    def _await_trigger(self) -> tuple[int, CameraSettings] | None:
        """Wait for the line clock; the next number with its settings, None at the end."""
        with self._wake:
            while not self._stopping:
                if self._paused or self._triggers == self.spec.parts:
                    self._wake.wait()
                    continue
                now = time.monotonic()
                if now < self._clock.due:
                    self._wake.wait(self._clock.due - now)
                    continue
                self._late += self._clock.fire(now)
                self._triggers += 1
                return self._triggers, self._plan.at(self._triggers)
            return None


def encode_png(image: Image | Mask) -> bytes:
    """PNG, lossless and fast (zlib level 1), of RGB uint8 [H, W, 3] or grey uint8 [H, W]."""
    stored = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()
