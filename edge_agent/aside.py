"""A thread for one model, off the inspection's own: a model is used by one thread at a time."""

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from edge_agent.loaded import FAILURES

T = TypeVar("T")


class Aside:
    """Does one thing after the other, in the order in which they came."""

    def __init__(self, name: str, limit: int) -> None:
        """`limit` things may wait beside the one that is done."""
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(limit)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, act: Callable[[], T]) -> Future[T] | None:
        """What `act` gives or raises, later; None where too many wait. Never waits itself."""
        answer: Future[T] = Future()

        def run() -> None:
            # Who no longer waits for it has cancelled it.
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(act())
            except FAILURES as error:
                answer.set_exception(error)

        try:
            self._waiting.put_nowait(run)
        except queue.Full:
            return None
        return answer

    @property
    def waiting(self) -> int:
        """Things that wait."""
        return self._waiting.qsize()

    def end(self) -> None:
        """Ends the thread after what it is at, without waiting for it."""
        self._closing.set()
        # Where the queue is full the thread wakes up by the next thing, and sees that it closes.
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)

    def join(self) -> None:
        """Waits for the end, for 5 s at most: the thread is the process's last, and may hang."""
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._closing.is_set():
            run = self._waiting.get()
            if run is None:
                return
            run()
