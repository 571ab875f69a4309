"""Rollouts: the list, and one with its stages, gate decisions and devices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlmodel import Session

from fleet_server.console import queries, words
from fleet_server.console.render import ACTOR, ConsoleRoute, go, page
from fleet_server.console.show import Badge, Fact, number, percent, plain, span
from fleet_server.console.stations import EventView, event_view
from fleet_server.rollouts import service
from fleet_server.rollouts.models import GateDecision, Rollout, RolloutDevice
from fleet_server.services import Services, ServicesDep
from fleet_server.telemetry.models import EventRow

DECISIONS, STEPS = 300, 40

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class RolloutLine:
    """A rollout in a list; `position` is the stage's place from 1."""

    id: str
    line: str
    state: Badge
    stage: str
    position: int
    stages: int
    digest: str
    champion: str
    created_s: float


@dataclass(frozen=True, slots=True)
class RolloutsPage:
    """All rollouts, the newest first."""

    rollouts: list[RolloutLine]


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage on the track."""

    name: str
    badge: Badge
    text: str


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


@dataclass(frozen=True, slots=True)
class DeviceView:
    """How far one device is."""

    name: str
    slot: str
    state: Badge
    reason: str


@dataclass(frozen=True, slots=True)
class RolloutPage:
    """One rollout."""

    id: str
    line: str
    state: Badge
    digest: str
    champion: str
    created_s: float
    reason: str
    stages: list[StageView]
    decisions: list[DecisionView]
    devices: list[DeviceView]
    steps: list[EventView]
    can_pause: bool
    can_resume: bool
    can_abort: bool


def _stages(rollout: Rollout) -> list[Mapping[str, Any]]:
    return list(rollout.plan.get("stages", ()))


def stage_name(rollout: Rollout, index: int) -> str:
    """Name of a stage of the plan; `end` behind the last one."""
    stages = _stages(rollout)
    return str(stages[index]["name"]) if index < len(stages) else "end"


def line(rollout: Rollout) -> RolloutLine:
    """The rollout as lists show it."""
    count = len(_stages(rollout))
    return RolloutLine(
        id=str(rollout.id),
        line=rollout.line,
        state=words.rollout(rollout.state),
        stage=stage_name(rollout, rollout.stage),
        position=min(rollout.stage + 1, max(count, 1)),
        stages=max(count, 1),
        digest=rollout.digest,
        champion=rollout.champion or "",
        created_s=rollout.created_at,
    )


def under_way(session: Session) -> list[RolloutLine]:
    """Rollouts that have begun and not ended."""
    going = ("running", "paused", "awaiting_approval")
    return [line(rollout) for rollout in service.list_rollouts(session) if rollout.state in going]


def _stage_view(rollout: Rollout, index: int, stage: Mapping[str, Any]) -> StageView:
    return StageView(str(stage["name"]), _stage_badge(rollout, index), _stage_text(stage))


def _stage_badge(rollout: Rollout, index: int) -> Badge:
    if rollout.state == "completed" or index < rollout.stage:
        return Badge("passed", "ok")
    if index > rollout.stage or rollout.state in ("draft", "awaiting_approval"):
        return Badge("to come" if rollout.ended_at is None else "not reached", "idle")
    return words.rollout(rollout.state)


def _stage_text(stage: Mapping[str, Any]) -> str:
    chosen = stage.get("devices", "all")
    if isinstance(chosen, list):
        text = ", ".join(str(name) for name in chosen)
    else:
        text = "all devices" if chosen == "all" else f"{chosen} devices"
    limits = []
    if stage.get("min_parts"):
        limits.append(f"at least {number(stage['min_parts'])} parts")
    if stage.get("min_devices"):
        limits.append(f"on {number(stage['min_devices'])} devices")
    if stage.get("horizon_s") and stage["name"] != "all":
        limits.append(f"within {span(float(stage['horizon_s']))}")
    return f"{text}; {' '.join(limits)}" if limits else text


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
}  # fmt: skip
"""Numbers whose own names say too little."""
_SHARES = ("rate_low", "rate_high", "max_disagreement")
_SHOWN_APART = ("guard_only", "canary", "control", "ln_e", "ln_e_limit")


def gate_numbers(numbers: Mapping[str, Any]) -> GateNumbers:
    """The canary's counts by what is watched, a shadow's by device; any other number as a fact."""
    rest = {name: value for name, value in numbers.items() if name not in _SHOWN_APART}
    if "ln_e" in numbers:
        return GateNumbers(
            ["Watched", "Canary", "Others", "ln E", "Limit"], _watched(numbers), _facts(rest)
        )
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
    for name, value in numbers.items():
        if name in _NAMES and isinstance(value, int | float):
            facts.append(Fact(_NAMES[name], percent(value) if name in _SHARES else number(value)))
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


def device_view(device: RolloutDevice) -> DeviceView:
    """A device of the rollout."""
    reason = ": ".join(part for part in (plain(device.failure), device.reason) if part)
    silent = device.failure == "silent"
    state = Badge("silent", "bad") if silent else words.update(device.state)
    return DeviceView(device.device, device.slot, state, reason)


def build(
    rollout: Rollout,
    decisions: Sequence[GateDecision],
    devices: Sequence[RolloutDevice],
    steps: Sequence[EventRow],
) -> RolloutPage:
    """The page of one rollout; decisions and steps with the newest first."""
    return RolloutPage(
        id=str(rollout.id),
        line=rollout.line,
        state=words.rollout(rollout.state),
        digest=rollout.digest,
        champion=rollout.champion or "",
        created_s=rollout.created_at,
        reason=rollout.reason,
        stages=[_stage_view(rollout, i, stage) for i, stage in enumerate(_stages(rollout))],
        decisions=decision_views(rollout, decisions),
        devices=[device_view(device) for device in devices],
        steps=[event_view(row) for row in steps],
        can_pause=rollout.state == "running",
        can_resume=rollout.state == "paused",
        can_abort=rollout.state in ("draft", "awaiting_approval", "running", "paused"),
    )


@router.get("/rollouts")
def rollouts(request: Request, services: ServicesDep) -> HTMLResponse:
    """All rollouts, the newest first."""
    with services.database.read() as session:
        view = RolloutsPage([line(rollout) for rollout in service.list_rollouts(session)])
    return page(request, "rollouts.html", now=services.clock.time(), page=view)


@router.get("/rollouts/{rollout_id}")
def rollout(request: Request, services: ServicesDep, rollout_id: int) -> HTMLResponse:
    """One rollout."""
    with services.database.read() as session:
        found = service.find_rollout(session, rollout_id)
        view = build(
            found,
            service.decisions(session, rollout_id, DECISIONS),
            service.rollout_devices(session, rollout_id),
            queries.update_steps(session, found, STEPS),
        )
    return page(request, "rollout.html", now=services.clock.time(), page=view)


@router.post("/rollouts/{rollout_id}/pause")
def pause(services: ServicesDep, rollout_id: int) -> RedirectResponse:
    """Stops the gates; devices keep what they have."""
    with services.database.write() as session:
        service.pause(session, services.clock.time(), ACTOR, rollout_id, "paused on the console")
    return _changed(services, rollout_id)


@router.post("/rollouts/{rollout_id}/resume")
def resume(services: ServicesDep, rollout_id: int) -> RedirectResponse:
    """Lets the gates judge again."""
    with services.database.write() as session:
        service.resume(session, services.clock.time(), ACTOR, rollout_id)
    return _changed(services, rollout_id)


@router.post("/rollouts/{rollout_id}/abort")
def abort(services: ServicesDep, rollout_id: int) -> RedirectResponse:
    """Ends it; devices go back to the champion."""
    with services.database.write() as session:
        service.abort(
            session, services.clock.time(), ACTOR, rollout_id, reason="aborted on the console"
        )
    return _changed(services, rollout_id)


def _changed(services: Services, rollout_id: int) -> RedirectResponse:
    services.bus.publish("rollouts", {"rollout": rollout_id})
    return go(f"/rollouts/{rollout_id}")
