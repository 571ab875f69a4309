"""A camera's controls: set in the order in which they hold, read back, and watched.

A camera that exposes by itself takes no exposure, so automatics are turned off before values are set;
and one that may stretch its frame time in the dark gives frames late. What a camera makes of a value is
its own affair (steps, limits, other firmware): it is read back, and what differs is told.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
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
_AUTOMATIC: dict[Name, Name] = {
    "exposure": "auto_exposure", "gain": "auto_gain", "white_balance": "auto_white_balance",
    "focus": "auto_focus",
}  # fmt: skip
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
    given = {name: getattr(config, name, None) for name in ORDER}
    wanted = {name: float(value) for name, value in given.items() if value is not None}
    for value, automatic in _AUTOMATIC.items():
        if value in wanted:
            wanted[automatic] = 0.0
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
    """Keeps one connection's controls; made for each connection, used by its thread.

    What a recipe moves goes back with the next: to what is configured or, where nothing is, to
    where the camera had it when it was opened.
    """

    def __init__(
        self, config: ControlsConfig, clock: Clock, tell: Tell,
        recipes: Mapping[str, ControlsConfig] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self._wanted = plan(config)
        self._recipes = {name: dict(plan(one)) for name, one in recipes.items()}
        self._rest: dict[Name, float] = {}
        """Of all controls that recipes move: what they are without one."""
        self._refusal = ""
        self._every_s, self._clock, self._tell = config.check_every, clock, tell
        self._found: dict[Name, float] = {}
        self._due_s = 0.0

    def apply(self, camera: Controllable) -> None:
        """Sets all, and tells what the camera made of it where that is something else."""
        self._found, trouble = self._set(camera, self._wanted)
        self._say("the camera's controls are not as configured", trouble)
        moved = {name for one in self._recipes.values() for name in one}
        known, _ = self._read(camera, [(name, 0.0) for name in ORDER if name in moved])
        self._rest = known | {name: value for name, value in self._wanted if name in moved}

    def use(self, camera: Controllable, recipe: str) -> bool:
        """Sets what the recipe sets and what others moved; whether the camera took all of it."""
        own = self._recipes.get(recipe, {})
        target = {**self._rest, **own}
        for name, automatic in _AUTOMATIC.items():
            # Under its automatic a value is the camera's own.
            if target.get(automatic) and name not in own:
                target.pop(name, None)
        wanted = [(name, target[name]) for name in ORDER if name in target]
        found, trouble = self._set(camera, wanted)
        self._found |= found
        now = {**dict(self._wanted), **target}
        self._wanted = [(name, now[name]) for name in ORDER if name in now]
        # Each part that suffers from it tries again: told once.
        if "; ".join(trouble) != self._refusal:
            self._refusal = "; ".join(trouble)
            called = f"the settings of recipe {recipe}" if recipe else "its own settings back"
            self._say(f"the camera does not take {called}", trouble)
        return not trouble

    def _set(
        self, camera: Controllable, wanted: Sequence[tuple[Name, float]]
    ) -> tuple[dict[Name, float], list[str]]:
        """What it finds after it, and what is not as it should be."""
        refused: list[str] = []
        for name, value in wanted:
            try:
                camera.set_control(name, value)
            except ControlError as error:
                # An automatic that the camera has not is off; what reading finds decides.
                if value:
                    refused.append(f"{name} cannot be set: {error}")
        found, unreadable = self._read(camera, wanted)
        differing = [
            f"{name} is {shown(name, found[name])}, not {shown(name, value)}"
            for name, value in wanted
            if name in found and not same(value, found[name])
        ]
        return found, [*refused, *unreadable, *differing]

    def check(self, camera: Controllable) -> None:
        """Where a look is due: tells what moved since the last one."""
        if self._clock.monotonic() < self._due_s:
            return
        found, _ = self._read(camera, self._wanted)
        moved = [
            f"{name} from {shown(name, before)} to {shown(name, found[name])}"
            for name, before in self._found.items()
            if name in found and not same(before, found[name])
        ]
        self._found |= found
        self._say("the camera's controls moved by themselves", moved)

    def _read(
        self, camera: Controllable, wanted: Sequence[tuple[Name, float]]
    ) -> tuple[dict[Name, float], list[str]]:
        found: dict[Name, float] = {}
        unreadable = []
        for name, value in wanted:
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

    def use(self, recipe: str) -> bool:
        return self._keeper.use(self._camera, recipe)

    def grab(self) -> Grab | None:
        self._keeper.check(self._camera)
        return self._camera.grab()

    def retrieve(self) -> Frame:
        return self._camera.retrieve()

    def close(self) -> None:
        self._camera.close()
