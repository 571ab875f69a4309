"""The interface of a judge, and what it says of a part."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_agent.trigger.base import checked_signal
from fleet_contract.errors import DataError
from fleet_contract.names import Verdict

_DECIDED = {str(one): one for one in (Verdict.ACCEPT, Verdict.REJECT)}
_EXPECTED = 'accept or reject, or {"verdict": ..., "part": ...}'


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict of those who judge today."""

    verdict: Verdict
    at_s: float
    """Monotonic seconds at which it reached this machine."""
    external_id: str = ""
    """The part's name elsewhere; empty where the order says which part it is."""


Hear = Callable[[Ruling], object]
"""Takes a verdict. From any thread."""


class Judge(Protocol):
    """Calls `hear` for each verdict, from a thread of its own."""

    def start(self, hear: Hear) -> None:
        """Begins. Once."""

    def close(self) -> None:
        """Ends; no verdict comes after. Also where it never began."""


@dataclass(frozen=True, slots=True)
class Today:
    """Who judges the line today."""

    judge: Judge
    within_s: float
    """A part and a verdict that come further apart do not belong together."""


def read_ruling(body: bytes, at_s: float) -> Ruling:
    """The verdict in a message: the word alone, or JSON with the part's id. Raises DataError."""
    text = body.decode("utf-8", "replace").strip()
    if text in _DECIDED:
        return Ruling(_DECIDED[text], at_s)
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict) or not set(content) <= {"part", "verdict"}:
        raise DataError("the verdict is not understood", expected=_EXPECTED, found=repr(text[:80]))
    part, verdict = content.get("part", ""), content.get("verdict")
    if not isinstance(part, str) or verdict not in _DECIDED:
        raise DataError("the verdict is not understood", expected=_EXPECTED, found=repr(text[:80]))
    return Ruling(_DECIDED[verdict], at_s, checked_signal(at_s, part, "").external_id)
