"""A candidate on the frames of the active bundle, in a thread of its own, off the critical path."""

import contextlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from edge_agent.aside import Aside
from edge_agent.loaded import FAILURES, Judge, Loaded
from edge_agent.looks import Look, conclude
from edge_agent.views import Plan
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame
from fleet_contract.names import Verdict


@dataclass(frozen=True, slots=True)
class Pair:
    """One part, judged by both; `candidate` is None where the candidate failed on it."""

    part: int
    frame: Frame | None
    """The view that made the part a reject for either, and for the active one first; None where it
    could not be held for so long."""
    view: int
    active_digest: str | None
    """None: no bundle is active, and the word is that of those who judge today."""
    active: Judgement
    candidate: Judgement | None


@dataclass(frozen=True, slots=True)
class Work:
    """A part that one bundle has judged for the line, with the pictures of its views."""

    part: int
    looks: Sequence[Look]
    decided: Look
    digest: str
    judgement: Judgement
    """Verdict and score of the part."""


def judge_again(model: Judge, plan: Plan, looks: Sequence[Look]) -> tuple[Look, Judgement]:
    """The view that decides for another bundle, and its word on the part.

    Raises what a model raises: one that fails on a view fails on the part.
    """
    judged = [replace(look, judgement=_one(model, plan, look)) for look in looks]
    # What is missing was missing for the first bundle too.
    plan = replace(plan, needed=len(judged))
    end = conclude(
        plan, judged, lambda recipe: model.manifest.decision.for_recipe(recipe).threshold
    )
    words = [look.judgement for look in judged if look.judgement is not None]
    assert end.look.judgement is not None
    assert end.score is not None
    took_ms = sum(word.latency_ms for word in words)
    word = replace(end.look.judgement, verdict=end.verdict, score=end.score, latency_ms=took_ms)
    return end.look, word


def _one(model: Judge, plan: Plan, look: Look) -> Judgement:
    assert look.captured.frame is not None
    scale = plan.views[look.captured.view].mm_per_pixel
    return model.judge(look.captured.frame, look.recipe, scale)


def pair_of(
    work: Work, shown: Look, active: tuple[str, Judgement], candidate: Judgement | None
) -> Pair:
    """The pair, with the picture of the view that is shown for it."""
    frame = shown.captured.frame
    assert frame is not None
    return Pair(work.part, frame, shown.captured.view, *active, candidate)


class ShadowRunner:
    """Sheds frames when it falls behind: `offer` never waits."""

    def __init__(self, loaded: Loaded, queue_limit: int, plan: Plan) -> None:
        self.digest = loaded.digest
        self._model, self._plan = loaded.model, plan
        self._thread = Aside("shadow", queue_limit)
        self._answers: deque[Future[Pair]] = deque()

    def offer(self, work: Work) -> bool:
        """False where there was no time for it: the part is shed."""
        answer = self._thread.submit(lambda: self._pair(work))
        if answer is not None:
            self._answers.append(answer)
        return answer is not None

    @property
    def waiting(self) -> int:
        """Parts that wait."""
        return self._thread.waiting

    def results(self) -> list[Pair]:
        """What was judged since the last call."""
        found = []
        while self._answers and self._answers[0].done():
            found.append(self._answers.popleft().result())
        return found

    def end(self) -> None:
        """Ends the thread after the part that it is at, without waiting for it."""
        self._thread.end()

    def join(self) -> None:
        """Waits for the end, for a while."""
        self._thread.join()

    def _pair(self, work: Work) -> Pair:
        shown, candidate = work.decided, None
        with contextlib.suppress(*FAILURES):
            judged, candidate = judge_again(self._model, self._plan, work.looks)
            if work.judgement.verdict is not Verdict.REJECT:
                shown = judged
        return pair_of(work, shown, (work.digest, work.judgement), candidate)
