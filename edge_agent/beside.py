"""What stands beside the active bundle: a candidate in shadow, one with a share of the parts, or none."""

from collections.abc import Callable
from dataclasses import replace

from edge_agent.canary import Canary
from edge_agent.loaded import FAILURES, Loaded
from edge_agent.looks import Conclusion, OpenPart
from edge_agent.report import Report
from edge_agent.shadow import Pair, ShadowRunner, Work
from edge_agent.views import Plan


class Beside:
    """Used by the inspection's thread. `wanted`: whether one more disagreement may be sent."""

    def __init__(self, plan: Plan, report: Report, wanted: Callable[[], bool]) -> None:
        self._plan, self._report, self._wanted = plan, report, wanted
        self._shadow: ShadowRunner | None = None
        self._canary: Canary | None = None

    @property
    def digest(self) -> str | None:
        """The candidate's."""
        found = self._shadow or self._canary
        return found.digest if found else None

    @property
    def waiting(self) -> int:
        """Parts that wait for the second word."""
        shadow, canary = self._shadow, self._canary
        return (shadow.waiting if shadow else 0) + (canary.owed if canary else 0)

    def put(
        self, shadow: ShadowRunner | None = None, canary: Canary | None = None
    ) -> list[ShadowRunner | Canary]:
        """From now on these; what they replace was told to end, and is to be joined elsewhere."""
        ended = [one for one in (self._shadow, self._canary) if one is not None]
        for one in ended:
            one.end()
        self.settle()
        for _ in range(self._canary.owed if self._canary else 0):
            self._report.shed()
        self._shadow, self._canary = shadow, canary
        return ended

    def close(self) -> None:
        """Ends what there is, and waits for it."""
        for one in (self._shadow, self._canary):
            if one is not None:
                one.end()
                one.join()
        self.settle()

    def whose(self, part: int) -> Canary | None:
        """The candidate whose part it is; None: the active bundle's."""
        canary = self._canary
        return canary if canary is not None and canary.share.takes(part) else None

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
        if self._shadow is not None:
            return self._shadow.offer(work)
        # Where the candidate failed its word will not come; that it failed is told by its arm.
        owing = self._canary is not None and part.canary is self._canary and part.failed is None
        return self._canary.owe(work) if self._canary is not None and owing else None

    def settle(self) -> None:
        """Reports what the shadow has judged since the last call."""
        for pair in self._shadow.results() if self._shadow else ():
            self._paired(pair)

    @property
    def owes(self) -> bool:
        """Whether a part waits for the active bundle's word."""
        return self._canary is not None and self._canary.owed > 0

    def pay(self, active: Loaded | None) -> None:
        """One part gets the active bundle's word."""
        if self._canary is None:
            return
        try:
            pair = self._canary.pay(active, self._plan)
        except FAILURES:
            pair = None
        if pair is None:
            self._report.shed()
        else:
            self._paired(pair)

    def _paired(self, pair: Pair) -> None:
        if self._report.pair(pair) and self._wanted():
            self._report.disagreement(pair, self._plan.views[pair.view].name)
