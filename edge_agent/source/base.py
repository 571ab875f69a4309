"""The interface of a source, and the rule that turns a camera's counter into part numbers."""

from dataclasses import dataclass
from typing import Protocol

from fleet_contract.inference.preprocess import Frame

UNREADABLE, INCOMPLETE = "frame_unreadable", "frame_incomplete"
"""Reasons of a part without a picture: it cannot be decoded; some of it was lost on its way."""
GAP, OVERRUN = "camera_gap", "overrun"
"""Reasons too: no frame came for it; too many waited for the inspection."""
CAMERA_SETTINGS = "camera_settings"
"""And: the camera did not take the settings of the part's recipe."""


@dataclass(frozen=True, slots=True)
class Captured:
    """One frame and its trigger."""

    frame: Frame | None
    """None where there is no picture: the part is there all the same, and `reason` says why."""
    trigger: int
    arrival_s: float
    """Monotonic seconds at which the frame, or without one the trigger, reached the agent."""
    reason: str = UNREADABLE
    """Why there is no frame."""
    recipe: str = ""
    """The product's variant, as the trigger gave it."""
    external_id: str = ""
    """The part's name elsewhere, as the trigger gave it."""
    view: int = 0
    """Which of the part's views it is (`edge_agent.views`); each comes once."""


@dataclass(slots=True)
class FrameCounts:
    """What became of frames, but for those that are judged, since the agent's start."""

    dropped: int = 0
    """No trigger asked for them, and the inspection had no time."""
    incomplete: int = 0
    """Part of the picture was lost on its way."""
    unset: int = 0
    """Parts before a camera that did not take the settings of their recipe; they have no frame."""


class CameraLost(Exception):  # noqa: N818
    """The camera cannot be reached, or does not answer.

    `reconnecting`: the source looks for it by itself and has parts to give meanwhile: ask at once.
    """

    def __init__(self, text: str, *, reconnecting: bool = False, camera: str = "") -> None:
        """`camera` is its id, where the source has several."""
        super().__init__(text)
        self.reconnecting, self.camera = reconnecting, camera


class CounterRestarted(Exception):  # noqa: N818
    """The camera counts from the beginning again."""


class Source(Protocol):
    """Frames in the order of their triggers. Used by one thread.

    Of a part with several views each comes once; parts may overlap, but they begin in their order.
    """

    def start(self, after: int | None) -> None:
        """Go on after trigger `after`; None: with the next new one."""

    def next(self, timeout_s: float) -> Captured | None:
        """The next frame, or None where none came in about `timeout_s`.

        Raises CameraLost (call again: it reconnects) and CounterRestarted.
        """

    def close(self) -> None:
        """Lets go of the camera."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The last part that is done: part number = `base` + trigger.

    `base` grows when the camera's counter restarts, so that part numbers never come twice.
    """

    base: int = 0
    trigger: int | None = None

    @property
    def part(self) -> int:
        """Number of the last part; 0 before the first."""
        return self.base + (self.trigger or 0)

    def missing(self, trigger: int) -> range:
        """Triggers that were passed over before `trigger`."""
        return range(0) if self.trigger is None else range(self.trigger + 1, trigger)

    def at(self, trigger: int) -> "Progress":
        """After the part of `trigger`."""
        return Progress(self.base, trigger)

    def restarted(self) -> "Progress":
        """After the camera began to count from 1 again."""
        return Progress(self.part, 0)
