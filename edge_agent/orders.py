"""What other threads want done between two parts, by the inspection's own thread."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from fleet_contract.errors import StateError

_LOOK_S, _LONGEST_S = 0.02, 5.0


class Orders:
    """`do` may be called from any thread, the rest belongs to the inspection's."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]]
        self._waiting = queue.SimpleQueue()
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether no more are taken."""
        return self._ended.is_set()

    def do(self, act: Callable[[], None]) -> None:
        """Returns once it is done. Raises StateError when inspection has ended."""
        if self.ended:
            raise StateError("inspection has ended")
        done: Future[None] = Future()
        self._waiting.put((act, done))
        while not done.done() and not self._ended.wait(_LOOK_S):
            pass
        if not done.done():
            self._refuse()
        done.result(timeout=_LONGEST_S)

    def take(self) -> None:
        """Does what waits."""
        while not self._waiting.empty():
            act, done = self._waiting.get()
            act()
            done.set_result(None)

    def end(self) -> None:
        """From now on none is taken; those that wait are refused."""
        self._ended.set()
        self._refuse()

    def _refuse(self) -> None:
        while not self._waiting.empty():
            _, done = self._waiting.get()
            done.set_exception(StateError("inspection has ended"))
