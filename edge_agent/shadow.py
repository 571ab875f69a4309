"""A candidate on the frames of the active bundle, in a thread of its own, off the critical path."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_agent.loaded import Loaded
from edge_agent.looks import Look, conclude
from edge_agent.views import Plan
from fleet_contract.errors import LoupeError
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame
from fleet_contract.names import Verdict


@dataclass(frozen=True, slots=True)
class Pair:
    """One part, judged by both; `candidate` is None where the candidate failed on it."""

    part: int
    frame: Frame
    """The view that made the part a reject for either, and for the active one first."""
    view: int
    active_digest: str
    active: Judgement
    candidate: Judgement | None


@dataclass(frozen=True, slots=True)
class Work:
    """A part that the active bundle has judged, with the pictures of its views."""

    part: int
    looks: Sequence[Look]
    decided: Look
    active_digest: str
    active: Judgement
    """Verdict and score of the part."""


class ShadowRunner:
    """Sheds frames when it falls behind: `offer` never waits."""

    def __init__(self, loaded: Loaded, queue_limit: int, plan: Plan) -> None:
        self.digest = loaded.digest
        self._model, self._plan = loaded.model, plan
        self._waiting: queue.Queue[Work | None]
        self._waiting = queue.Queue(queue_limit)
        self._done: deque[Pair] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, work: Work) -> bool:
        """False where there was no time for it: the part is shed."""
        try:
            self._waiting.put_nowait(work)
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
            self._done.append(self._pair(work))

    def _pair(self, work: Work) -> Pair:
        shown, candidate = work.decided, None
        # One that fails on a view fails on the part.
        with contextlib.suppress(LoupeError):
            judged, candidate = self._judge(work.looks)
            if work.active.verdict is not Verdict.REJECT:
                shown = judged
        frame = shown.captured.frame
        assert frame is not None
        return Pair(
            work.part, frame, shown.captured.view, work.active_digest, work.active, candidate
        )

    def _judge(self, looks: Sequence[Look]) -> tuple[Look, Judgement]:
        """The view that decides for the candidate, and its word on the part. Raises LoupeError."""
        judged = [replace(look, judgement=self._one(look)) for look in looks]
        # What is missing was missing for the active bundle too.
        plan = replace(self._plan, needed=len(judged))
        decision = self._model.manifest.decision
        end = conclude(plan, judged, lambda recipe: decision.for_recipe(recipe).threshold)
        words = [look.judgement for look in judged if look.judgement is not None]
        assert end.look.judgement is not None
        assert end.score is not None
        took_ms = sum(word.latency_ms for word in words)
        return end.look, replace(
            end.look.judgement, verdict=end.verdict, score=end.score, latency_ms=took_ms
        )

    def _one(self, look: Look) -> Judgement:
        assert look.captured.frame is not None
        scale = self._plan.views[look.captured.view].mm_per_pixel
        return self._model.judge(look.captured.frame, look.recipe, scale)
