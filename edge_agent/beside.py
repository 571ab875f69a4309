"""What stands beside the active bundle: a candidate in shadow, one with a share of the parts, or none."""

import queue
from collections.abc import Callable
from dataclasses import replace

from edge_agent.canary import Canary
from edge_agent.judge.base import Ruling
from edge_agent.judge.shadow import JudgedShadow
from edge_agent.loaded import FAILURES, Loaded
from edge_agent.looks import Conclusion, OpenPart
from edge_agent.report import Report
from edge_agent.shadow import Pair, ShadowRunner, Work
from edge_agent.views import Plan

Candidate = ShadowRunner | JudgedShadow | Canary


class Beside:
    """Used by the inspection's thread, but for `hear`."""

    def __init__(self, plan: Plan, report: Report, wanted: Callable[[], bool]) -> None:
        """`wanted`: whether one more disagreement may be sent."""
        self._plan, self._report, self._wanted = plan, report, wanted
        self._one: Candidate | None = None
        self._heard: queue.SimpleQueue[Ruling] = queue.SimpleQueue()

    @property
    def digest(self) -> str | None:
        """The candidate's."""
        return self._one.digest if self._one else None

    @property
    def waiting(self) -> int:
        """Parts that wait for the second word."""
        one = self._one
        return one.waiting if one else 0

    def put(self, one: Candidate | None, now_s: float) -> Candidate | None:
        """From now on this one; what it replaces was told to end, and is to be joined elsewhere."""
        ended = self._one
        if ended is not None:
            ended.end()
        self.settle(now_s)
        if isinstance(ended, Canary):
            for _ in range(ended.waiting):
                self._report.shed()
        self._one = one
        return ended

    def close(self, now_s: float) -> None:
        """Ends what there is, and waits for it."""
        if self._one is not None:
            self._one.end()
            self._one.join()
        self.settle(now_s)

    def whose(self, part: int) -> Canary | None:
        """The candidate whose part it is; None: the active bundle's."""
        one = self._one
        return one if isinstance(one, Canary) and one.share.takes(part) else None

    def judged(self, part: OpenPart, end: Conclusion, score: float) -> None:
        """A part with a verdict: the other bundle's word on it is asked for, where there is one."""
        looks = [look for look in part.looks if look.judgement is not None]
        kept = all(look.captured.frame is not None for look in looks)
        if part.active is None or end.look.judgement is None or not kept:
            return
        judgement = replace(end.look.judgement, verdict=end.verdict, score=score)
        work = Work(part.progress.part, looks, end.look, part.active.digest, judgement)
        if self._asked(part, work) is False:
            self._report.shed()

    def _asked(self, part: OpenPart, work: Work) -> bool | None:
        """Whether it is asked for; None where there is nobody to ask."""
        if isinstance(self._one, ShadowRunner):
            return self._one.offer(work)
        # Where the candidate failed its word will not come; that it failed is told by its arm.
        if isinstance(self._one, Canary) and part.canary is self._one and part.failed is None:
            return self._one.owe(work)
        return None

    # A line that no bundle judges.

    def hear(self, ruling: Ruling) -> None:
        """A verdict of those who judge today. From any thread."""
        self._heard.put(ruling)

    def undecided(self, part: OpenPart) -> None:
        """A part that no bundle was there to judge."""
        if isinstance(self._one, JudgedShadow):
            self._one.part(part)

    def passed(self, number: int, at_s: float) -> None:
        """A part that passed unseen."""
        if isinstance(self._one, JudgedShadow):
            self._one.passed(number, at_s)

    def settle(self, now_s: float) -> None:
        """Reports what became known since the last call."""
        one = self._one
        while not self._heard.empty():
            ruling = self._heard.get()
            # Where a bundle is active it is what candidates are compared with.
            if isinstance(one, JudgedShadow):
                one.ruling(ruling)
        if isinstance(one, ShadowRunner):
            for pair in one.results():
                self._paired(pair)
        elif isinstance(one, JudgedShadow):
            for pair in one.results(now_s):
                self._paired(pair)
            self._report.lost(*one.lost())

    # A share of the parts.

    @property
    def owes(self) -> bool:
        """Whether a part waits for the active bundle's word."""
        return isinstance(self._one, Canary) and self._one.waiting > 0

    def pay(self, active: Loaded | None) -> None:
        """One part gets the active bundle's word."""
        if not isinstance(self._one, Canary):
            return
        try:
            pair = self._one.pay(active, self._plan)
        except FAILURES:
            pair = None
        if pair is None:
            self._report.shed()
        else:
            self._paired(pair)

    def _paired(self, pair: Pair) -> None:
        if self._report.pair(pair) and pair.frame is not None and self._wanted():
            self._report.disagreement(pair, pair.frame, self._plan.views[pair.view].name)
