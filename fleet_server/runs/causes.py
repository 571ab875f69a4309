"""Why a run is there: a person's word, an incident, new labels, a schedule. Pure."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["api", "command line", "console", "incident", "labels", "schedule"]


class Cause(BaseModel):
    """One reason for a run; the same reason again is counted, not listed twice."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    by: str
    """A person, or a rule."""
    text: str = ""
    """In words, as the latest of them that said anything."""
    incident: int | None = None
    at: float
    """When it first came, in seconds since 1970."""
    last_at: float
    times: int = 1

    def same(self, other: "Cause") -> bool:
        """Whether both are one reason."""
        return (self.kind, self.by, self.incident) == (other.kind, other.by, other.incident)


def read(stored: Sequence[dict[str, Any]]) -> list[Cause]:
    """The causes in a run's row."""
    return [Cause.model_validate(content) for content in stored]


def joined(stored: Sequence[dict[str, Any]], fresh: Cause) -> list[dict[str, Any]]:
    """The causes in a run's row and one more, to be stored."""
    causes = read(stored)
    for index, known in enumerate(causes):
        if known.same(fresh):
            more = {
                "text": fresh.text or known.text,
                "last_at": fresh.last_at,
                "times": known.times + 1,
            }
            causes[index] = known.model_copy(update=more)
            break
    else:
        causes.append(fresh)
    return [cause.model_dump() for cause in causes]


def came(stored: Sequence[dict[str, Any]]) -> int:
    """How often a run was asked for."""
    return sum(cause.times for cause in read(stored))
