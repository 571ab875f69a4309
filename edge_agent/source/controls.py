"""A camera's controls: set in the order in which they hold, read back, and watched.

A camera that exposes by itself takes no exposure, so automatics are turned off before values are set;
and one that may stretch its frame time in the dark gives frames late. What a camera makes of a value is
its own affair (steps, limits, other firmware): it is read back, and what differs is told.
"""

import math
from collections.abc import Sequence
from typing import Literal, Protocol, get_args

from edge_agent.source.camera import Camera, Grab
from edge_agent.source.settings import ControlsConfig
from edge_agent.trigger.base import Tell
from fleet_contract.clock import Clock
from fleet_contract.inference.preprocess import Frame

Name = Literal[
    "auto_exposure", "auto_gain", "auto_white_balance", "auto_focus", "dynamic_framerate",
    "exposure", "gain", "white_balance", "focus",
]  # fmt: skip
"""In the order in which they are set: automatics first. Exposure in seconds, white balance in kelvin,
gain and focus in the camera's own units, automatics 0 or 1."""
ORDER: tuple[Name, ...] = get_args(Name)
_TOLERANCE = 0.02
"""Relative; cameras round to their own steps."""


class ControlError(Exception):
    """The camera has no such control, or refuses the value."""


class Controllable(Protocol):
    """A camera whose controls can be reached. Used by the thread that reads it."""

    def set_control(self, name: Name, value: float) -> None:
        """Raises ControlError."""

    def get_control(self, name: Name) -> float:
        """Raises ControlError."""


def plan(config: ControlsConfig) -> list[tuple[Name, float]]:
    """What to set, in this order. A value turns its automatic off, an exposure also the stretching."""
    wanted: dict[str, float] = {
        name: float(value) for name, value in config.model_dump().items()
        if value is not None and name in ORDER
    }  # fmt: skip
    for value in ("exposure", "gain", "white_balance", "focus"):
        if value in wanted:
            wanted[f"auto_{value}"] = 0.0
    if "exposure" in wanted:
        wanted["dynamic_framerate"] = 0.0
    return [(name, wanted[name]) for name in ORDER if name in wanted]


def same(wanted: float, found: float) -> bool:
    """Whether a camera's value is the one that was asked for, but for its steps."""
    return math.isclose(wanted, found, rel_tol=_TOLERANCE, abs_tol=1e-9)


def shown(name: Name, value: float) -> str:
    """A value as people write it."""
    if name == "exposure":
        return f"{value * 1e3:.4g} ms"
    if name.startswith("auto_") or name == "dynamic_framerate":
        return "on" if value else "off"
    return f"{value:.4g}"


class ControlledCamera(Controllable, Camera, Protocol):
    """A live camera with controls."""


class ControlKeeper:
    """Keeps one connection's controls; made for each connection, used by its thread."""

    def __init__(self, config: ControlsConfig, clock: Clock, tell: Tell) -> None:
        self._wanted = plan(config)
        self._every_s, self._clock, self._tell = config.check_every, clock, tell
        self._found: dict[Name, float] = {}
        self._due_s = 0.0

    def apply(self, camera: Controllable) -> None:
        """Sets all, and tells what the camera made of it where that is something else."""
        refused: list[str] = []
        for name, value in self._wanted:
            try:
                camera.set_control(name, value)
            except ControlError as error:
                # An automatic that the camera has not is off; what reading finds decides.
                if value:
                    refused.append(f"{name} cannot be set: {error}")
        self._found, unreadable = self._read(camera)
        differing = [
            f"{name} is {shown(name, self._found[name])}, not {shown(name, value)}"
            for name, value in self._wanted
            if name in self._found and not same(value, self._found[name])
        ]
        self._say(
            "the camera's controls are not as configured", [*refused, *unreadable, *differing]
        )

    def check(self, camera: Controllable) -> None:
        """Where a look is due: tells what moved since the last one."""
        if self._clock.monotonic() < self._due_s:
            return
        found, _ = self._read(camera)
        moved = [
            f"{name} from {shown(name, before)} to {shown(name, found[name])}"
            for name, before in self._found.items()
            if name in found and not same(before, found[name])
        ]
        self._found |= found
        self._say("the camera's controls moved by themselves", moved)

    def _read(self, camera: Controllable) -> tuple[dict[Name, float], list[str]]:
        found: dict[Name, float] = {}
        unreadable = []
        for name, value in self._wanted:
            try:
                found[name] = camera.get_control(name)
            except ControlError as error:
                if value:
                    unreadable.append(f"{name} cannot be read: {error}")
        self._due_s = self._clock.monotonic() + self._every_s
        return found, unreadable

    def _say(self, what: str, words: Sequence[str]) -> None:
        if words:
            self._tell("camera", f"{what}: {'; '.join(words)}", "warning")


class Kept:
    """A camera with its controls kept: looked at between two frames, after one was handed on."""

    def __init__(self, camera: ControlledCamera, keeper: ControlKeeper) -> None:
        self._camera, self._keeper = camera, keeper

    def open(self) -> None:
        self._camera.open()
        self._keeper.apply(self._camera)

    def grab(self) -> Grab | None:
        self._keeper.check(self._camera)
        return self._camera.grab()

    def retrieve(self) -> Frame:
        return self._camera.retrieve()

    def close(self) -> None:
        self._camera.close()
