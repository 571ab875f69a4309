"""The gate of a canary inside stations: two bundles, each with its share of the same station's parts.

Parts are drawn by a hash, so that light, product and hour are alike in both arms, and a difference
is the bundle's. Arms are compared station by station and span by span; on the candidate's parts the
active bundle's verdict is known too, and says more of rejects than other parts can.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fleet_server.rollouts.gates import (
    ArmDevice,
    Counts,
    Pairs,
    Progress,
    Verdict,
    failures_gate,
    missing_parts,
    paired_evidence,
    undecided,
    would_tell,
)
from fleet_server.rollouts.plan import Stage, Watched
from fleet_server.rollouts.statistics import (
    Bin,
    rate_ratio_evidence,
    review_evidence,
)


def share_gate(
    stage: Stage,
    progress: Progress,
    candidate: Sequence[ArmDevice],
    active: Sequence[ArmDevice],
    pairs: Pairs,
    reviewed: tuple[int, int],
) -> Verdict:
    """Held until the candidate judged enough parts without a sign of harm; then the next share.

    `candidate` and `active` are the same devices in the same order. `reviewed`: (challenger right,
    champion right) over disagreements that a person labelled.
    """
    failed = failures_gate(stage, progress)
    if failed:
        return failed
    own, others = (sum((d.total for d in arm), Counts()) for arm in (candidate, active))
    evidence = {event: _evidence(event, stage, candidate, active, pairs) for event in stage.watch}
    # The error is shared out over people's reviews and the watched kinds (Bonferroni).
    limit = math.log((1 + len(stage.watch)) / stage.alpha)
    numbers: dict[str, Any] = {
        "share": stage.share, "rate_ratio": stage.rate_ratio,
        "canary_parts": own.parts, "control_parts": others.parts,
        "canary": {event: own.of(event) for event in stage.watch},
        "control": {event: others.of(event) for event in stage.watch},
        "pairs": pairs.pairs, "only_candidate_rejects": pairs.only_candidate_rejects,
        "only_active_rejects": pairs.only_active_rejects, "shed": pairs.shed,
        "challenger_right": reviewed[0], "champion_right": reviewed[1],
        "ln_e": evidence, "ln_e_limit": limit,
    }  # fmt: skip
    for event, value in evidence.items():
        if value >= limit:
            return Verdict("roll_back", _harm(event, own, others, pairs), numbers)
    if review_evidence(*reviewed[::-1]) >= limit:
        text = f"people found the champion right on {reviewed[1]} of {sum(reviewed)} disagreements"
        return Verdict("roll_back", text, numbers)
    missing = missing_parts(stage, progress, {d.device: d.total.parts for d in candidate})
    if missing:
        return undecided(stage, progress, f"waiting: {', '.join(missing)}", numbers)
    # The arms' e-value counts half, beside that of the pairs.
    bins = _bins("rejects", candidate, active)
    coarse = would_tell(stage, bins, stage.rate_ratio, limit + math.log(2), own.parts)
    text = (
        f"{own.parts} parts of the share and {others.parts} others without a sign of harm{coarse}; "
        f"the two disagree on {pairs.disagreements} of {pairs.pairs} parts"
    )
    return Verdict("promote", text, numbers)


def _harm(event: Watched, own: Counts, others: Counts, pairs: Pairs) -> str:
    text = (
        f"{event.replace('_', ' ')}: {own.of(event)} in {own.parts} parts of the share, "
        f"{others.of(event)} in {others.parts} others of the same stations"
    )
    if event not in ("rejects", "fewer_rejects"):
        return text
    return (
        f"{text}; of {pairs.pairs} parts that both judged, the candidate alone rejects "
        f"{pairs.only_candidate_rejects}, the active bundle alone {pairs.only_active_rejects}"
    )


def _evidence(
    event: Watched,
    stage: Stage,
    candidate: Sequence[ArmDevice],
    active: Sequence[ArmDevice],
    pairs: Pairs,
) -> float:
    """ln E against "the candidate's rate is at most `rate_ratio` times the active bundle's".

    For rejects the mean of two e-values, which is one again: of the arms, and of the pairs.
    """
    arms = (active, candidate) if event == "fewer_rejects" else (candidate, active)
    between = rate_ratio_evidence(_bins(event, *arms), stage.rate_ratio)
    if event not in ("rejects", "fewer_rejects"):
        return between
    within = paired_evidence(event, pairs, stage.rate_ratio)
    return float(np.logaddexp(between, within) - math.log(2))


def _bins(event: Watched, one: Sequence[ArmDevice], other: Sequence[ArmDevice]) -> list[Bin]:
    """One for each station and span: what differs between them is no difference of bundles."""
    return [
        Bin(a.of(event), b.of(event), float(a.parts), float(b.parts))
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x.bins, y.bins, strict=False)
    ]
