"""The interface of a trigger, and what it says of a part."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fleet_contract.errors import DataError
from fleet_contract.messages import NAME_LENGTH


@dataclass(frozen=True, slots=True)
class Signal:
    """A part lies before the camera."""

    at_s: float
    """Monotonic seconds at which the signal reached this machine."""
    external_id: str = ""
    """The part's name elsewhere, such as a serial number; empty where the line gives none."""
    recipe: str = ""
    """The product's variant; empty is the line without a recipe."""
    passed: bool = False
    """It came too late to say which frame shows the part: the part ends without a picture."""


Fire = Callable[[Signal], int]
"""Takes a signal and returns the number of its part. From any thread."""
Tell = Callable[[str, str, str], None]
"""(kind, text, severity): an event of the line. From any thread."""


class Trigger(Protocol):
    """Calls `fire` for each part, from a thread of its own."""

    def start(self, fire: Fire) -> None:
        """Begins. Once."""

    def close(self) -> None:
        """Ends; no signal comes after. Also where it never began."""


def checked_signal(at_s: float, external_id: str, recipe: str) -> Signal:
    """A signal with words from outside. Raises DataError for one that no record could carry."""
    for name, word in (("part id", external_id), ("recipe", recipe)):
        if word != tidy(word):
            raise DataError(
                f"the trigger's {name} cannot be kept",
                expected=f"at most {NAME_LENGTH} printable characters",
                found=f"{len(word)}: {word[:40]!r}",
            )
    return Signal(at_s, external_id, recipe)


def tidy(word: str) -> str:
    """What a record can carry of a word: for those who cannot be told that it is wrong."""
    return "".join(one if one.isprintable() else "?" for one in word[:NAME_LENGTH])
