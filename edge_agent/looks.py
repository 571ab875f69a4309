"""What the bundle said of a part's views, and the one verdict that it makes. Rules only: values in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_agent.loaded import Loaded
from edge_agent.source.base import GAP, Captured, Progress
from edge_agent.views import Plan
from fleet_contract.inference.model import Judgement
from fleet_contract.names import Verdict

if TYPE_CHECKING:
    from edge_agent.canary import Canary

VIEW_MISSING = "view_missing"
"""Reason of a part that was seen, but not in this view: none of its frames came."""


@dataclass(frozen=True, slots=True)
class Look:
    """One view of a part, and what the bundle said of it."""

    captured: Captured
    recipe: str
    judgement: Judgement | None = None
    reason: str = ""
    """Why there is no judgement."""
    fault: bool = False
    """Whether that is the runtime's fault."""
    began_s: float = 0.0
    judged_s: float = 0.0


@dataclass(slots=True)
class OpenPart:
    """A part of which views are still to come."""

    progress: Progress
    first: Captured
    """The view that came first: its time and its words are the part's."""
    active: Loaded | None
    """What judges all of its views."""
    canary: "Canary | None" = None
    """The candidate whose part it is."""
    failed: Look | None = None
    """The view on which that candidate gave no word in time: another bundle judges all of them."""
    looks: list[Look] = field(default_factory=list)

    def missing(self, plan: Plan) -> list[Captured]:
        """Views that have not come, as such that never will."""
        came = {look.captured.view for look in self.looks}
        trigger, arrival_s = self.first.trigger, self.first.arrival_s
        return [
            Captured(None, trigger, arrival_s, GAP, view=view)
            for view in range(len(plan.views))
            if view not in came
        ]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How a part ends, but for its deadline."""

    verdict: Verdict
    look: Look
    """The view that decided, or that is missing."""
    score: float | None = None
    reason: str = ""


def conclude(plan: Plan, looks: Sequence[Look], threshold: Callable[[str], float]) -> Conclusion:
    """One verdict from all views of a part; `threshold` is by a view's recipe.

    A view that rejects rejects the part under `any_rejects`, whatever is missing. The mean is held
    against the mean of the thresholds, and never rejects what limits accept in every view.
    """
    judged = [look for look in looks if look.judgement is not None]
    rejects = [look for look in judged if _of(look).verdict is Verdict.REJECT]
    if rejects and plan.rule == "any_rejects":
        worst = max(rejects, key=_score)
        return Conclusion(Verdict.REJECT, worst, _score(worst))
    if len(judged) < plan.needed:
        return _undecided(looks)
    worst = max(judged, key=_score)
    if plan.rule != "mean_score":
        return Conclusion(_of(worst).verdict, worst, _score(worst))
    score = sum(map(_score, judged)) / len(judged)
    limit = sum(threshold(look.recipe) for look in judged) / len(judged)
    verdict = Verdict.REJECT if rejects and score >= limit else Verdict.ACCEPT
    return Conclusion(verdict, worst, score)


def _undecided(looks: Sequence[Look]) -> Conclusion:
    failed = [look for look in looks if look.judgement is None]
    # What went wrong says more than that nothing came; and a part that nobody saw is a gap.
    look = next((one for one in failed if one.reason != GAP), failed[0])
    unseen = look.reason == GAP and len(failed) < len(looks)
    return Conclusion(Verdict.NO_DECISION, look, reason=VIEW_MISSING if unseen else look.reason)


def _of(look: Look) -> Judgement:
    assert look.judgement is not None
    return look.judgement


def _score(look: Look) -> float:
    return _of(look).score
