"""A candidate that judges a share of the station's parts for the line, and the active bundle the others.

A part is the candidate's by the hash of its number and of the attempt: the same part after a restart
falls the same way, each attempt draws parts of its own, and a larger share keeps those of a smaller.
The candidate judges in a thread of its own, so that the line can wait for it with an end: where it
fails, or has not answered while the active bundle would still be in time, the active bundle judges
the part. So a candidate costs the line no part that the active bundle could have judged. On parts
that the candidate judged, the active bundle's word follows after the verdict, when the line has time.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from edge_agent.aside import Aside
from edge_agent.loaded import Loaded
from edge_agent.sampling import drawn
from edge_agent.shadow import Pair, Work, judge_again, pair_of
from edge_agent.views import Plan
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame
from fleet_contract.names import Verdict


class TooLate(Exception):  # noqa: N818
    """The candidate has not answered in time."""


class Watch(Protocol):
    """The candidate's probation, as the inspection feeds it."""

    def part(self, verdict: Verdict, score: float | None, *, late: bool, fault: bool) -> bool:
        """One part of the share, as the candidate itself ended it; whether it keeps its share."""


@dataclass(frozen=True, slots=True)
class Share:
    """Which parts are the candidate's."""

    seed: str
    """The spool's id, and the attempt's: with a part's number they name it in the fleet."""
    share: float

    def takes(self, part: int) -> bool:
        """Whether the part of that number is the candidate's."""
        return drawn(self.seed, part, self.share)


class Canary:
    """Used by the inspection's thread."""

    def __init__(self, loaded: Loaded, share: Share, watch: Watch, queue_limit: int) -> None:
        """`queue_limit` parts may wait for the active bundle's word."""
        self.loaded, self.share, self.watch = loaded, share, watch
        self._limit = queue_limit
        self._owed: deque[Work] = deque()
        # One part that is late, and the next: a third one is not begun.
        self._thread = Aside("canary", 1)

    @property
    def digest(self) -> str:
        """The candidate's."""
        return self.loaded.digest

    def judge(
        self, frame: Frame, recipe: str, scale: float | None, *, patience_s: float
    ) -> Judgement:
        """The candidate's word. Raises TooLate after `patience_s`, and what a model raises."""
        answer = self._thread.submit(lambda: self.loaded.model.judge(frame, recipe, scale))
        if answer is None:
            raise TooLate
        try:
            return answer.result(timeout=max(patience_s, 0.0))
        except TimeoutError:
            answer.cancel()
            raise TooLate from None

    @property
    def waiting(self) -> int:
        """Parts that wait for the active bundle's word."""
        return len(self._owed)

    def owe(self, work: Work) -> bool:
        """False where too many wait: the part is shed."""
        if len(self._owed) >= self._limit:
            return False
        self._owed.append(work)
        return True

    def pay(self, active: Loaded | None, plan: Plan) -> Pair | None:
        """The active bundle's word on the oldest part that waits. Raises what a model raises."""
        work = self._owed.popleft()
        if active is None:
            return None
        shown, word = judge_again(active.model, plan, work.looks)
        if word.verdict is not Verdict.REJECT:
            shown = work.decided
        return pair_of(work, shown, (active.digest, word), work.judgement)

    def end(self) -> None:
        """Ends the thread after the part that it is at, without waiting for it."""
        self._thread.end()

    def join(self) -> None:
        """Waits for the end, for a while."""
        self._thread.join()
