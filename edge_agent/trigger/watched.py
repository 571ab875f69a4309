"""The other side of a trigger or a judge, watched by a thread, lost, and found again."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from edge_agent.link_rules import Backoff
from edge_agent.trigger.base import Tell

T = TypeVar("T")
Seen = TypeVar("Seen", covariant=True)


class SideLost(Exception):  # noqa: N818
    """The other side is not there, or does not answer."""


class Side(Protocol[Seen]):
    """What is watched. Used by one thread."""

    name: str
    """Its kind and address, for messages."""

    def open(self) -> None:
        """Connects, anew where it was. Raises SideLost."""

    def look(self) -> Sequence[Seen]:
        """What came since the last look; waits for a fraction of a second. Raises SideLost."""

    def taken(self) -> None:
        """What the last look saw has been taken. Raises SideLost."""

    def close(self) -> None:
        """Lets go."""


class Watched(Generic[T]):
    """Hands on what the side shows; its loss and its return are told once."""

    def __init__(self, side: Side[T], what: str, tell: Tell) -> None:
        """`what` it is to the line: trigger, judge."""
        self._side, self._what, self._tell = side, what, tell
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, take: Callable[[T], object]) -> None:
        """Begins. Once."""
        self._thread = threading.Thread(
            target=self._run, args=(take,), name=self._what, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Ends; nothing comes after."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self, take: Callable[[T], object]) -> None:
        backoff, lost, name = Backoff(0.2, 5), False, f"the {self._what} {self._side.name}"
        while not self._closing.is_set():
            try:
                self._side.open()
                if lost:
                    self._tell(self._what, f"{name} is back", "info")
                lost = False
                backoff.reset()
                self._watch(take)
            except SideLost as error:
                if not lost:
                    self._tell(self._what, f"{name} is lost: {error}", "error")
                lost = True
                self._closing.wait(backoff.next())
        self._side.close()

    def _watch(self, take: Callable[[T], object]) -> None:
        while not self._closing.is_set():
            seen = self._side.look()
            for one in seen:
                take(one)
            if seen:
                self._side.taken()
