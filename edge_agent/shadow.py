"""A candidate on the frames of the active bundle, in a thread of its own, off the critical path."""

import contextlib
import queue
import threading
from collections import deque
from dataclasses import dataclass

from edge_agent.loaded import Loaded
from fleet_contract.errors import LoupeError
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame


@dataclass(frozen=True, slots=True)
class Pair:
    """One part, judged by both; `candidate` is None where the candidate failed on it."""

    part: int
    frame: Frame
    active_digest: str
    active: Judgement
    candidate: Judgement | None


class ShadowRunner:
    """Sheds frames when it falls behind: `offer` never waits."""

    def __init__(self, loaded: Loaded, queue_limit: int) -> None:
        self.digest = loaded.digest
        self._model = loaded.model
        self._waiting: queue.Queue[tuple[int, Frame, str, str, Judgement] | None]
        self._waiting = queue.Queue(queue_limit)
        self._done: deque[Pair] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, part: int, frame: Frame, recipe: str, digest: str, active: Judgement) -> bool:
        """False where there was no time for it: the part is shed."""
        try:
            self._waiting.put_nowait((part, frame, recipe, digest, active))
        except queue.Full:
            return False
        return True

    @property
    def waiting(self) -> int:
        """Parts that wait."""
        return self._waiting.qsize()

    def results(self) -> list[Pair]:
        """What was judged since the last call."""
        return [self._done.popleft() for _ in range(len(self._done))]

    def end(self) -> None:
        """Ends the thread after the part that it is at, without waiting for it."""
        self._closing.set()
        # Where the queue is full the thread wakes up by the next part, and sees that it closes.
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)

    def join(self) -> None:
        """Waits for the end, for 5 s at most: the thread is the process's last, and may hang."""
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._closing.is_set():
            work = self._waiting.get()
            if work is None:
                return
            part, frame, recipe, digest, active = work
            try:
                judgement: Judgement | None = self._model.judge(frame, recipe)
            except LoupeError:
                judgement = None
            self._done.append(Pair(part, frame, digest, active, judgement))
