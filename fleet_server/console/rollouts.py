"""Rollouts: the list, and one with its stages, gate decisions and devices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlmodel import Session

from fleet_server.console import queries, words
from fleet_server.console.devices import EventView, event_view
from fleet_server.console.gates import DecisionView, decision_views, stage_name, stages
from fleet_server.console.render import ACTOR, ConsoleRoute, go, page
from fleet_server.console.show import Badge, number, plain, span
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


def line(rollout: Rollout) -> RolloutLine:
    """The rollout as lists show it."""
    count = len(stages(rollout))
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
    return StageView(stage_name(rollout, index), _stage_badge(rollout, index), _stage_text(stage))


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


def device_view(rollout: Rollout, device: RolloutDevice) -> DeviceView:
    """A device of the rollout."""
    share = service.share_of(rollout, device)
    slot = f"{device.slot}, {100 * share:g} % of its parts" if share else device.slot
    reason = ": ".join(part for part in (plain(device.failure), device.reason) if part)
    silent = device.failure == "silent"
    state = Badge("silent", "bad") if silent else words.update(device.state)
    return DeviceView(device.device, slot, state, reason)


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
        stages=[_stage_view(rollout, i, stage) for i, stage in enumerate(stages(rollout))],
        decisions=decision_views(rollout, decisions),
        devices=[device_view(rollout, device) for device in devices],
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
