"""Gate decisions in words: what was decided, why, and the numbers that it was made on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fleet_server.console import words
from fleet_server.console.show import Badge, Fact, number, percent, plain
from fleet_server.rollouts.models import GateDecision, Rollout
from fleet_server.rollouts.plan import Stage


@dataclass(frozen=True, slots=True)
class GateNumbers:
    """The numbers of a decision: what was watched as a table, the rest as facts."""

    columns: list[str]
    rows: list[list[str]]
    facts: list[Fact]


@dataclass(frozen=True, slots=True)
class DecisionView:
    """What a gate decided, and why."""

    id: int
    stage: str
    decision: Badge
    guard_only: Badge | None
    text: str
    numbers: GateNumbers
    at_s: float
    looks: int
    """How often in a row the gate decided so; the numbers are the last look's."""


def stages(rollout: Rollout) -> list[Mapping[str, Any]]:
    """The stages of the plan, in their order."""
    return list(rollout.plan.get("stages", ()))


def stage_name(rollout: Rollout, index: int) -> str:
    """Name of a stage of the plan, with a canary's share; `end` behind the last one."""
    planned = stages(rollout)
    return Stage.model_validate(planned[index]).title if index < len(planned) else "end"


def decision_views(rollout: Rollout, decisions: Sequence[GateDecision]) -> list[DecisionView]:
    """Decisions with the newest first; looks in a row that decided the same are one row."""
    runs = [
        list(same) for _, same in groupby(decisions, key=lambda made: (made.stage, made.decision))
    ]
    return [_decision(rollout, same[0], len(same)) for same in runs]


_NAMES: Mapping[str, str] = {
    "rate_low": "Disagreement at least", "rate_high": "Disagreement at most",
    "max_disagreement": "Disagreement allowed", "e_challenger_better": "E for the challenger",
    "e_champion_better": "E for the champion", "canary_parts": "Parts on the canary",
    "control_parts": "Parts on the others", "rate_ratio": "Rate ratio allowed",
    "challenger_right": "Challenger right", "champion_right": "Champion right",
    "judge_right": "Today's judge right", "e_judge_better": "E for today's judge",
    "unpaired": "Without a partner", "share": "Share of the parts", "only_candidate_rejects": "Only the candidate rejects",
    "ln_e_rejects": "ln E for more rejects", "ln_e_fewer_rejects": "ln E for fewer rejects",
    "only_active_rejects": "Only the active bundle rejects",
}  # fmt: skip
"""Numbers whose own names say too little."""
_OF_A_SHARE: Mapping[str, str] = {
    "canary_parts": "Parts of the candidate", "control_parts": "Parts of the active bundle",
    "pairs": "Parts that both judged",
}  # fmt: skip
"""The same where both arms are of one station."""
_SHARES = ("rate_low", "rate_high", "max_disagreement", "share")
_SHOWN_APART = ("guard_only", "canary", "control", "ln_e", "ln_e_limit")


def gate_numbers(numbers: Mapping[str, Any]) -> GateNumbers:
    """The canary's counts by what is watched, a shadow's by device; any other number as a fact."""
    rest = {name: value for name, value in numbers.items() if name not in _SHOWN_APART}
    if "ln_e" in numbers:
        arms = ["Candidate", "Active"] if "share" in numbers else ["Canary", "Others"]
        return GateNumbers(["Watched", *arms, "ln E", "Limit"], _watched(numbers), _facts(rest))
    pairs = rest.get("devices")
    if isinstance(pairs, Mapping) and all(isinstance(pair, list) for pair in pairs.values()):
        rows = [[name, *(number(value) for value in pair)] for name, pair in pairs.items()]
        others = {name: value for name, value in rest.items() if name != "devices"}
        return GateNumbers(["Device", "Pairs", "Disagree"], rows, _facts(others))
    return GateNumbers([], [], _facts(rest))


def _watched(numbers: Mapping[str, Any]) -> list[list[str]]:
    limit = f"{numbers['ln_e_limit']:.2f}"
    return [
        [
            plain(event),
            number(numbers["canary"][event]),
            number(numbers["control"][event]),
            f"{value:.2f}",
            limit,
        ]
        for event, value in numbers["ln_e"].items()
    ]


def _facts(numbers: Mapping[str, Any]) -> list[Fact]:
    facts = []
    names = {**_NAMES, **(_OF_A_SHARE if "share" in numbers else {})}
    for name, value in numbers.items():
        if name in names and isinstance(value, int | float):
            facts.append(Fact(names[name], percent(value) if name in _SHARES else number(value)))
        else:
            facts += [Fact(*pair) for pair in words.flatten({name: value})]
    return facts


def _decision(rollout: Rollout, decision: GateDecision, looks: int) -> DecisionView:
    guard = decision.numbers.get("guard_only") is True
    return DecisionView(
        id=decision.id or 0,
        stage=stage_name(rollout, decision.stage),
        decision=words.decision(decision.decision),
        guard_only=Badge("guard only", "info") if guard else None,
        text=decision.text,
        numbers=gate_numbers(decision.numbers),
        at_s=decision.at,
        looks=looks,
    )
