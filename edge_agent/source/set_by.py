"""To which recipe a camera is set, and to which it is to be set. Rules only: values and times in.

A recipe without settings of its own is the camera as it is configured, whose name here is ''. Frames
that may have been exposed before a change are passed over: those of its first `settle_s`, and then
`skip` more.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settling:
    """After the settings of a recipe were set, or taken back."""

    settle_s: float = 0.0
    skip: int = 1


class SetBy:
    """Of one camera. Not thread-safe."""

    def __init__(self, recipes: Mapping[str, Settling]) -> None:
        """`recipes`: those with settings for this camera."""
        self._recipes = recipes
        self._wanted = ""
        self._current: str | None = ""
        """None: nobody knows what the camera made of the last ones."""
        self._refused = False
        self._ready_s, self._skip = -math.inf, 0

    def _key(self, recipe: str) -> str:
        return recipe if recipe in self._recipes else ""

    def want(self, recipe: str) -> None:
        """The next part is of this recipe."""
        self._wanted = self._key(recipe)

    def to_set(self) -> str | None:
        """What the camera has to be set to now; None: nothing."""
        changed = self._wanted != self._current and not self._refused
        return self._wanted if changed else None

    def was_set(self, key: str, at_s: float, *, taken: bool) -> None:
        """What became of it."""
        settling = self._settling(key, self._current)
        self._ready_s, self._skip = at_s + settling.settle_s, settling.skip
        self._current, self._refused = key, not taken

    def _settling(self, key: str, before: str | None) -> Settling:
        """Also of the one that is left: its lamp takes as long to come back."""
        both = [self._recipes.get(one) for one in (key, before or "")]
        known = [one for one in both if one is not None]
        return Settling(
            max((one.settle_s for one in known), default=0.0),
            max((one.skip for one in known), default=0),
        )

    def connected(self) -> None:
        """The camera was opened anew, and set as it is configured."""
        self._current, self._refused = "", False
        self._ready_s, self._skip = -math.inf, 0

    def passes(self, arrival_s: float) -> bool:
        """Whether a frame shows the settings that were set last; to be asked once a frame."""
        if self._wanted != self._current or arrival_s < self._ready_s:
            return False
        self._skip -= 1
        return self._skip < 0

    def stands(self, recipe: str) -> bool:
        """Whether the camera is set to it."""
        return self._current == self._key(recipe) and not self._refused

    def refused(self, recipe: str) -> bool:
        """Whether the camera did not take its settings."""
        return self._refused and self._current == self._key(recipe)

    def again(self) -> None:
        """The next part tries anew."""
        self._current, self._refused = None, False

    def ready_s(self, recipe: str, since_s: float) -> float:
        """When frames may show it at the earliest, as far as is known; since a signal."""
        if self.stands(recipe):
            return self._ready_s
        return since_s + self._settling(self._key(recipe), self._current).settle_s
