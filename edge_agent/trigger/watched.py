"""A trigger whose other side is watched by a thread, lost, and found again."""

import threading
from collections.abc import Sequence
from typing import Protocol

from edge_agent.link_rules import Backoff
from edge_agent.trigger.base import Fire, Signal, Tell


class SideLost(Exception):  # noqa: N818
    """The other side is not there, or does not answer."""


class Side(Protocol):
    """What is watched. Used by one thread."""

    name: str
    """Its kind and address, for messages."""

    def open(self) -> None:
        """Connects, anew where it was. Raises SideLost."""

    def look(self) -> Sequence[Signal]:
        """What came since the last look; waits for a fraction of a second. Raises SideLost."""

    def taken(self) -> None:
        """The signals of the last look have their parts. Raises SideLost."""

    def close(self) -> None:
        """Lets go."""


class WatchedTrigger:
    """Fires for what the side shows; its loss and its return are told once."""

    def __init__(self, side: Side, tell: Tell) -> None:
        self._side, self._tell = side, tell
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, fire: Fire) -> None:
        self._thread = threading.Thread(target=self._run, args=(fire,), name="trigger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self, fire: Fire) -> None:
        backoff, lost = Backoff(0.2, 5), False
        while not self._closing.is_set():
            try:
                self._side.open()
                if lost:
                    self._tell("trigger", f"the trigger {self._side.name} is back", "info")
                lost = False
                backoff.reset()
                self._watch(fire)
            except SideLost as error:
                if not lost:
                    text = f"the trigger {self._side.name} is lost: {error}"
                    self._tell("trigger", text, "error")
                lost = True
                self._closing.wait(backoff.next())
        self._side.close()

    def _watch(self, fire: Fire) -> None:
        while not self._closing.is_set():
            signals = self._side.look()
            for signal in signals:
                fire(signal)
            if signals:
                self._side.taken()
