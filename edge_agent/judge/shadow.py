"""A candidate on the parts of a line that no bundle judges, beside the people or the system that do."""

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from edge_agent.aside import Aside
from edge_agent.judge.base import Ruling
from edge_agent.judge.pairing import Match, Pairing
from edge_agent.loaded import Loaded
from edge_agent.looks import Look, OpenPart
from edge_agent.shadow import Pair, judge_again
from edge_agent.views import Plan
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame
from fleet_contract.names import Verdict

_MOST_PICTURE_BYTES = 32 * 2**20
"""Of parts that wait for their verdict; beyond it the oldest are paired without their picture."""
_NO_MAP = np.zeros((1, 1), np.float32)


@dataclass(slots=True)
class _Word:
    """What the candidate says of a part."""

    shown: Look
    judgement: Judgement
    frame: Frame | None


class JudgedShadow:
    """Used by the inspection's thread. Sheds parts when it falls behind."""

    def __init__(self, loaded: Loaded, queue_limit: int, plan: Plan, within_s: float) -> None:
        self.digest = loaded.digest
        self._model, self._plan = loaded.model, plan
        self._thread = Aside("shadow", queue_limit)
        self._pairing: Pairing[_Word] = Pairing(within_s)
        self._asked: deque[tuple[int, Look, Future[tuple[Look, Judgement]]]] = deque()
        self._pictured: deque[_Word] = deque()
        self._shed = 0

    def part(self, part: OpenPart) -> None:
        """A part that ended without a verdict of a bundle."""
        number = part.progress.part
        self._pairing.part(number, part.first.external_id, part.first.arrival_s)
        looks = [look for look in part.looks if look.captured.frame is not None]
        if len(looks) < self._plan.needed:
            self._pairing.word(number, None)
            return
        answer = self._thread.submit(lambda: judge_again(self._model, self._plan, looks))
        if answer is None:
            self._shed += 1
            self._pairing.word(number, None)
        else:
            self._asked.append((number, looks[0], answer))

    def passed(self, number: int, at_s: float) -> None:
        """A part that passed unseen: it has its place in the order."""
        self._pairing.part(number, "", at_s)
        self._pairing.word(number, None)

    def ruling(self, ruling: Ruling) -> None:
        """A verdict of those who judge today."""
        self._pairing.ruling(ruling)

    @property
    def waiting(self) -> int:
        """Parts that wait for the candidate."""
        return self._thread.waiting

    def results(self, now_s: float) -> list[Pair]:
        """Parts with both words since the last call, and those on which the candidate failed."""
        found = []
        while self._asked and self._asked[0][2].done():
            number, first, answer = self._asked.popleft()
            if answer.exception() is None:
                self._pairing.word(number, self._kept(*answer.result()))
            else:
                self._pairing.word(number, None)
                found.append(_pair(number, first, Verdict.ACCEPT, None, None))
        return found + [self._matched(match) for match in self._pairing.take(now_s)]

    def lost(self) -> tuple[int, int]:
        """(without a partner, shed) since the last call."""
        shed, self._shed = self._shed, 0
        return self._pairing.unpaired(), shed

    def _kept(self, shown: Look, judgement: Judgement) -> _Word:
        word = _Word(shown, judgement, shown.captured.frame)
        self._pictured.append(word)
        held = sum(one.frame.nbytes for one in self._pictured if one.frame is not None)
        while len(self._pictured) > 1 and held > _MOST_PICTURE_BYTES:
            oldest = self._pictured.popleft()
            held -= oldest.frame.nbytes if oldest.frame is not None else 0
            oldest.frame = None
        return word

    def _matched(self, match: Match[_Word]) -> Pair:
        word = match.word
        frame, word.frame = word.frame, None
        return _pair(match.part, word.shown, match.verdict, word.judgement, frame)

    def end(self) -> None:
        """Ends the thread after the part that it is at, without waiting for it."""
        self._thread.end()

    def join(self) -> None:
        """Waits for the end, for a while."""
        self._thread.join()


def _pair(
    part: int, shown: Look, verdict: Verdict, candidate: Judgement | None, frame: Frame | None
) -> Pair:
    score = 1.0 if verdict is Verdict.REJECT else 0.0
    judge = Judgement(verdict, score, _NO_MAP, 0.0)
    return Pair(part, frame, shown.captured.view, None, judge, candidate)
