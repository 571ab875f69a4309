"""Gates: a stage's measured numbers in, promote, hold or roll back out. No IO.

No data is `hold`, never success or failure. Each verdict carries the numbers that it was made on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fleet_server.rollouts.plan import Stage, Watched
from fleet_server.rollouts.statistics import (
    Bin,
    least_found,
    paired_ratio_evidence,
    rate_ratio_evidence,
    review_evidence,
    share_bounds,
    welch_below,
)

Decision = Literal["promote", "hold", "roll_back"]
Opponent = Literal["champion", "judge"]
"""What a candidate is compared with: the line's champion, or those who judge until there is one."""
FULL_TEST_DEVICES = 4
"""Devices an arm from which the canary's promotion test works; fewer make it `guard_only`."""
REVIEW_E = 20.0
"""E-value at which reviewed disagreements decide for the challenger."""
_PRIOR_EVENTS = 8.0
"""Stations' rates are expected to differ by about a third (1 / sqrt(8)) before they are known, and one
station's from hour to hour."""
_RATES_Z = 2.0
"""Standard errors of the ratio of earlier rates that are granted to it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's judgement."""

    decision: Decision
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A device of the rollout that failed, or fell silent."""

    device: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What every gate looks at first."""

    devices: tuple[str, ...]
    """Of the stage."""
    ready: tuple[str, ...]
    """Those that run the bundle in the stage's slot."""
    failures: tuple[Failure, ...]
    elapsed_s: float
    """Since the stage began."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Parts that one bundle judged on one device, and how they ended."""

    parts: int = 0
    rejects: int = 0
    no_decision: int = 0
    late: int = 0
    faults: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.parts + other.parts,
            self.rejects + other.rejects,
            self.no_decision + other.no_decision,
            self.late + other.late,
            self.faults + other.faults,
        )

    def of(self, event: Watched) -> int:
        """Events of one kind."""
        return int(getattr(self, "rejects" if event == "fewer_rejects" else event))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Shadow counts of one device."""

    pairs: int = 0
    disagreements: int = 0
    faults: int = 0
    late: int = 0
    shed: int = 0
    both_reject: int = 0
    only_candidate_rejects: int = 0
    unpaired: int = 0
    """Parts and verdicts of those who judge today that found no partner."""

    @property
    def only_active_rejects(self) -> int:
        """Disagreements of the other kind."""
        return self.disagreements - self.only_candidate_rejects

    def __add__(self, other: "Pairs") -> "Pairs":
        return Pairs(
            self.pairs + other.pairs,
            self.disagreements + other.disagreements,
            self.faults + other.faults,
            self.late + other.late,
            self.shed + other.shed,
            self.both_reject + other.both_reject,
            self.only_candidate_rejects + other.only_candidate_rejects,
            self.unpaired + other.unpaired,
        )


@dataclass(frozen=True, slots=True)
class ArmDevice:
    """One device of a canary's arm: its earlier counts, and those since the stage began, in bins."""

    device: str
    before: Counts
    bins: tuple[Counts, ...]

    @property
    def total(self) -> Counts:
        """Since the stage began."""
        return sum(self.bins, Counts())


def failures_gate(stage: Stage, progress: Progress) -> Verdict | None:
    """Rolls back where more devices failed than the stage allows."""
    if len(progress.failures) <= stage.max_failures:
        return None
    told = "; ".join(f"{f.device}: {f.kind} ({f.reason})" for f in progress.failures[:5])
    return Verdict(
        "roll_back",
        f"{len(progress.failures)} of {len(progress.devices)} devices failed, "
        f"{stage.max_failures} may: {told}",
        {"failed": [f.device for f in progress.failures], "max_failures": stage.max_failures},
    )


def _wanted_devices(stage: Stage, progress: Progress) -> int:
    if stage.min_devices is not None:
        return stage.min_devices
    return max(1, len(progress.devices) - len(progress.failures))


def missing_parts(stage: Stage, progress: Progress, judged: dict[str, int]) -> list[str]:
    """What a promotion still waits for."""
    missing = []
    wanted = _wanted_devices(stage, progress)
    enough = sum(parts >= stage.min_parts_each for parts in judged.values())
    if enough < wanted:
        missing.append(
            f"{enough} of {wanted} devices with at least {stage.min_parts_each} judged parts"
        )
    total = sum(judged.values())
    if total < stage.min_parts:
        missing.append(f"{total} of {stage.min_parts} parts")
    return missing


def undecided(stage: Stage, progress: Progress, text: str, numbers: dict[str, Any]) -> Verdict:
    if progress.elapsed_s < stage.horizon_s or stage.inconclusive == "pause":
        return Verdict("hold", text, numbers)
    return Verdict("roll_back", f"inconclusive at the horizon: {text}", numbers)


def all_gate(stage: Stage, progress: Progress, judged: dict[str, int]) -> Verdict:
    """The last stage: done when every device that did not fail runs the bundle for good."""
    failed = failures_gate(stage, progress)
    if failed:
        return failed
    waiting = sorted(
        set(progress.devices) - set(progress.ready) - {f.device for f in progress.failures}
    )
    numbers = {
        "ready": list(progress.ready), "waiting": waiting, "judged": judged,
        "failed": [f.device for f in progress.failures],
    }  # fmt: skip
    if waiting:
        return Verdict("hold", f"waiting for {', '.join(waiting)}", numbers)
    total = sum(judged.values())
    if total < stage.min_parts:
        return Verdict("hold", f"waiting: {total} of {stage.min_parts} parts", numbers)
    return Verdict("promote", f"{len(progress.ready)} devices run the bundle", numbers)


def shadow_gate(
    stage: Stage,
    progress: Progress,
    pairs: dict[str, Pairs],
    reviewed: tuple[int, int],
    *,
    champion: Opponent = "champion",
) -> Verdict:
    """Shadow: both judged the same parts, and only parts on which they disagree carry information.

    `champion` may be those who judge the line today. `reviewed`: (challenger right, champion right)
    over disagreements that a person labelled. Enough evidence from people goes before bare counts,
    in both directions. Without it a rare event hides: of a line with 2 % rejects, a candidate that
    rejects nothing disagrees on 2 % only. So counts promote where the two disagree on few parts and
    there is no sign that the candidate rejects more, or fewer, than `rate_ratio` allows.
    """
    failed = failures_gate(stage, progress)
    if failed:
        return failed
    total = sum(pairs.values(), Pairs())
    told = _paired_evidence(stage, total)
    # The error is shared out: people's reviews, late verdicts, and each count that is watched.
    alpha = stage.alpha / (2 + len(told))
    late_low, _ = share_bounds(total.late, max(total.pairs, total.late), alpha)
    better, worse = (
        math.exp(min(review_evidence(*counts), 700.0)) for counts in (reviewed, reviewed[::-1])
    )
    numbers = {
        **_counted(stage, pairs, total, champion),
        "challenger_right": reviewed[0], f"{champion}_right": reviewed[1],
        "e_challenger_better": better, f"e_{champion}_better": worse,
        **{f"ln_e_{event}": value for event, value in told.items()},
    }  # fmt: skip
    if total.faults > stage.max_faults:
        text = f"the candidate's runtime failed on {total.faults} parts"
        return Verdict("roll_back", text, numbers)
    if late_low > stage.max_late:
        text = f"the candidate is late on {total.late} of {total.pairs} parts"
        return Verdict("roll_back", text, numbers)
    if worse >= 1 / alpha:
        text = (
            f"people found the {champion} right on {reviewed[1]} of {sum(reviewed)} disagreements"
        )
        return Verdict("roll_back", text, numbers)
    missing = missing_parts(stage, progress, {name: p.pairs for name, p in pairs.items()})
    if champion == "judge" and not total.pairs:
        missing.append("no verdict of today's judge was paired; do the stations have a [judge]?")
    if missing:
        return undecided(stage, progress, f"waiting: {', '.join(missing)}", numbers)
    if better >= REVIEW_E:
        text = (
            f"people found the challenger right on {reviewed[0]} of {sum(reviewed)} disagreements"
        )
        return Verdict("promote", text, numbers)
    changed = [event for event, value in told.items() if value >= math.log(1 / alpha)]
    return _unreviewed(stage, progress, numbers, changed, champion)


def _counted(
    stage: Stage, pairs: dict[str, Pairs], total: Pairs, champion: Opponent
) -> dict[str, Any]:
    """What both judged, as numbers of the decision; `total` is of all devices."""
    low, high = share_bounds(total.disagreements, total.pairs, stage.alpha)
    numbers: dict[str, Any] = {
        "pairs": total.pairs, "disagreements": total.disagreements,
        "rate_low": low, "rate_high": high, "max_disagreement": stage.max_disagreement,
        "faults": total.faults, "late": total.late, "shed": total.shed,
        "only_candidate_rejects": total.only_candidate_rejects,
        "only_active_rejects": total.only_active_rejects,
        "devices": {name: [p.pairs, p.disagreements] for name, p in sorted(pairs.items())},
    }  # fmt: skip
    return numbers | ({"unpaired": total.unpaired} if champion == "judge" else {})


def _unreviewed(
    stage: Stage,
    progress: Progress,
    numbers: dict[str, Any],
    changed: Sequence[Watched],
    champion: Opponent,
) -> Verdict:
    """Where people said too little: promoted by counts, if none of those watched has `changed`."""
    total, disagreements = numbers["pairs"], numbers["disagreements"]
    low, high = numbers["rate_low"], numbers["rate_high"]
    if changed:
        text = (
            f"{changed[0].replace('_', ' ')}: of {total} parts the candidate alone rejects "
            f"{numbers['only_candidate_rejects']}, the {champion} alone "
            f"{numbers['only_active_rejects']}; labels of disagreements would decide"
        )
        return undecided(stage, progress, text, numbers)
    if high <= stage.max_disagreement:
        text = f"they disagree on {disagreements} of {total} parts, at most {high:.0%} in truth"
        return Verdict("promote", text, numbers)
    text = (
        f"they disagree on {disagreements} of {total} parts ({low:.0%} to {high:.0%}, "
        f"{stage.max_disagreement:.0%} allowed); labels of disagreements would decide"
    )
    return undecided(stage, progress, text, numbers)


def _paired_evidence(stage: Stage, pairs: Pairs) -> dict[Watched, float]:
    """ln E for each direction in which the plan watches rejects."""
    return {
        event: paired_evidence(event, pairs, stage.rate_ratio)
        for event in stage.watch
        if event in ("rejects", "fewer_rejects")
    }


def paired_evidence(event: Watched, pairs: Pairs, ratio: float) -> float:
    """ln E by parts that both judged: the candidate rejects more (or fewer) than `ratio` allows."""
    more, less = pairs.only_candidate_rejects, pairs.only_active_rejects
    if event == "fewer_rejects":
        more, less = less, more
    return paired_ratio_evidence(pairs.both_reject, more, less, ratio)


def canary_gate(
    stage: Stage, progress: Progress, canary: Sequence[ArmDevice], control: Sequence[ArmDevice]
) -> Verdict:
    """Canary: rates of events on the canary's devices against the champion's on the others.

    Without a control arm the canary's own earlier counts are its control.
    """
    failed = failures_gate(stage, progress)
    if failed:
        return failed
    evidence = {event: _evidence(event, stage, canary, control) for event in stage.watch}
    total = sum((d.total for d in canary), Counts())
    against = sum((d.total for d in control), Counts())
    full = min(len(canary), len(control)) >= FULL_TEST_DEVICES
    numbers: dict[str, Any] = {
        "guard_only": not full, "rate_ratio": stage.rate_ratio,
        "canary_parts": total.parts, "control_parts": against.parts,
        "canary": {event: total.of(event) for event in stage.watch},
        "control": {event: against.of(event) for event in stage.watch},
        "ln_e": evidence, "ln_e_limit": math.log(len(stage.watch) / stage.alpha),
    }  # fmt: skip
    # The error is shared out over the watched kinds (Bonferroni).
    for event, value in evidence.items():
        if value >= math.log(len(stage.watch) / stage.alpha):
            text = (
                f"{event.replace('_', ' ')}: {total.of(event)} in {total.parts} parts on the "
                f"canary, {against.of(event)} in {against.parts} on the others"
            )
            return Verdict("roll_back", text, numbers)
    missing = missing_parts(stage, progress, {d.device: d.total.parts for d in canary})
    if missing:
        return undecided(stage, progress, f"waiting: {', '.join(missing)}", numbers)
    if not full:
        bins, ratio = _compared("rejects", stage, canary, control)
        coarse = would_tell(stage, bins, ratio, numbers["ln_e_limit"], total.parts)
        text = (
            f"guard_only: fewer than {FULL_TEST_DEVICES} devices an arm, so no test of equality; "
            f"{total.parts} parts without a sign of harm{coarse}"
        )
        return Verdict("promote", text, numbers)
    return _promotion_test(stage, progress, canary, control, numbers)


def would_tell(stage: Stage, bins: Sequence[Bin], ratio: float, limit: float, parts: int) -> str:
    """How coarse a guard of rejects was on `parts` of the candidate: what would have been a sign."""
    if "rejects" not in stage.watch:
        return ""
    found = least_found(bins, ratio, limit, parts)
    if found is None:
        return ", though not even rejects alone would have been one"
    return f", as which {found} rejects would have counted"


def _promotion_test(
    stage: Stage,
    progress: Progress,
    canary: Sequence[ArmDevice],
    control: Sequence[ArmDevice],
    numbers: dict[str, Any],
) -> Verdict:
    """The device-level test, at `looks` fixed times until the horizon, each at alpha / looks."""
    span = stage.horizon_s / stage.looks
    look = min(int(progress.elapsed_s / span), stage.looks)
    if look == 0:
        return Verdict("hold", f"first look at {span:.0f} s", numbers)
    bins = int(look * span / stage.bin_s)
    p = welch_below(
        [_log_change(d, bins) for d in canary],
        [_log_change(d, bins) for d in control],
        math.log(stage.margin),
    )
    numbers = {**numbers, "look": look, "p": p, "p_limit": stage.alpha / stage.looks}
    if p <= stage.alpha / stage.looks:
        text = f"a reject rate {stage.margin} times the others' is ruled out (p = {p:.2g})"
        return Verdict("promote", text, numbers)
    text = f"look {look} of {stage.looks}: p = {p:.2g}, {stage.alpha / stage.looks:.2g} needed"
    return undecided(stage, progress, text, numbers)


def _log_change(device: ArmDevice, bins: int) -> float:
    after = sum(device.bins[:bins], Counts())
    return math.log((after.rejects + 0.5) / (after.parts + 1)) - math.log(
        (device.before.rejects + 0.5) / (device.before.parts + 1)
    )


def _evidence(
    event: Watched, stage: Stage, canary: Sequence[ArmDevice], control: Sequence[ArmDevice]
) -> float:
    """ln E against "the canary's rate is at most `rate_ratio` times what was to be expected"."""
    return rate_ratio_evidence(*_compared(event, stage, canary, control))


def _compared(
    event: Watched, stage: Stage, canary: Sequence[ArmDevice], control: Sequence[ArmDevice]
) -> tuple[list[Bin], float]:
    """The arms span by span, and the ratio that is tested.

    Expected are the devices' own rates; those are estimates, so the ratio is widened by their
    uncertainty. With nothing beside it, a rate may have changed by the hour.
    """
    if not canary or not control:
        ratio = stage.rate_ratio * math.exp(1 / math.sqrt(_PRIOR_EVENTS))
        return [_own_history(event, canary)], ratio
    arms = (control, canary) if event == "fewer_rejects" else (canary, control)
    known = [sum(d.before.of(event) + _PRIOR_EVENTS for d in arm) for arm in arms]
    ratio = stage.rate_ratio * math.exp(_RATES_Z * math.sqrt(sum(1 / events for events in known)))
    rates = _own_rates(event, (*canary, *control))
    bins = []
    for index in range(max(len(d.bins) for d in (*canary, *control))):
        (x_c, m_c), (x_0, m_0) = (_side(event, arm, index, rates) for arm in arms)
        bins.append(Bin(x_c, x_0, m_c, m_0))
    return bins, ratio


def _own_rates(event: Watched, devices: Sequence[ArmDevice]) -> dict[str, float]:
    """Each device's earlier rate, drawn towards that of all the more the less it is known by itself.

    The mean of a gamma distribution after the device's own counts (empirical Bayes; Robbins 1956).
    """
    every = sum((d.before for d in devices), Counts())
    mean = (every.of(event) + 0.5) / (every.parts + 1)
    return {
        d.device: (d.before.of(event) + _PRIOR_EVENTS) / (d.before.parts + _PRIOR_EVENTS / mean)
        for d in devices
    }


def _side(
    event: Watched, arm: Sequence[ArmDevice], index: int, rates: dict[str, float]
) -> tuple[int, float]:
    inside = [(d, d.bins[index]) for d in arm if index < len(d.bins)]
    return (
        sum(counts.of(event) for _, counts in inside),
        sum(rates[d.device] * counts.parts for d, counts in inside),
    )


def _own_history(event: Watched, canary: Sequence[ArmDevice]) -> Bin:
    now, before = (
        sum((d.total for d in canary), Counts()),
        sum((d.before for d in canary), Counts()),
    )
    if event == "fewer_rejects":
        now, before = before, now
    return Bin(now.of(event), before.of(event), float(now.parts), float(before.parts))
