"""Rollouts over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlmodel import Session

from fleet_contract.names import DIGEST_PATTERN
from fleet_server.rollouts import service
from fleet_server.rollouts.models import GateDecision, Rollout, RolloutDevice
from fleet_server.rollouts.plan import parse_plan
from fleet_server.services import Services, ServicesDep

router = APIRouter(prefix="/rollouts", tags=["rollouts"])

By = Annotated[str, Query(max_length=80, description="Who does it, for the audit log.")]


class RolloutIn(BaseModel):
    """A rollout to start."""

    digest: str = Field(max_length=64, pattern=DIGEST_PATTERN.replace("{64}", "{6,64}"))
    plan: dict[str, Any] | None = None
    """Stages; None: shadow, canary on a rising share of one device's parts, all for a line with a
    champion, else all at once."""
    wait: bool = False
    """Begin as soon as the release is approved, instead of refusing one that is not."""


class AbortIn(BaseModel):
    """How to end it."""

    keep: bool = False
    """Devices that run the bundle stay with it."""
    reason: str = Field(default="", max_length=500)


class PauseIn(BaseModel):
    """Why it is paused."""

    reason: str = Field(default="", max_length=500)


class DecisionOut(BaseModel):
    """A gate's judgement."""

    stage: int
    stage_name: str
    at: float
    decision: str
    text: str
    numbers: dict[str, Any]


class RolloutDeviceOut(BaseModel):
    """How far one device is."""

    device: str
    slot: str
    share: float | None
    """Of the device's parts that the bundle judges; None: all, or in shadow none."""
    stage: int
    state: str
    failure: str
    reason: str
    assigned_at: float
    updated_at: float


class RolloutOut(BaseModel):
    """A rollout without its details."""

    id: int
    line: str
    digest: str
    champion: str | None
    state: str
    stage: int
    stage_name: str
    stages: list[str]
    attempt: int
    reason: str
    created_at: float
    created_by: str
    stage_started_at: float | None
    ended_at: float | None


class RolloutDetail(RolloutOut):
    """A rollout with its plan, devices and gate decisions, the oldest first."""

    plan: dict[str, Any]
    devices: list[RolloutDeviceOut]
    decisions: list[DecisionOut]


def _out(rollout: Rollout) -> dict[str, Any]:
    names = [stage.title for stage in parse_plan(rollout.plan).stages]
    return {**rollout.model_dump(), "stages": names, "stage_name": names[rollout.stage]}


def _decision(rollout: Rollout, row: GateDecision) -> DecisionOut:
    name = parse_plan(rollout.plan).stages[row.stage].title
    return DecisionOut.model_validate({**row.model_dump(), "stage_name": name})


def _detail(session: Session, rollout: Rollout) -> RolloutDetail:
    key = rollout.id or 0
    return RolloutDetail.model_validate(
        {
            **_out(rollout),
            "devices": [_device(rollout, row) for row in service.rollout_devices(session, key)],
            "decisions": [_decision(rollout, row) for row in service.decisions(session, key)[::-1]],
        }
    )


def _device(rollout: Rollout, row: RolloutDevice) -> RolloutDeviceOut:
    share = service.share_of(rollout, row)
    return RolloutDeviceOut.model_validate({**row.model_dump(), "share": share})


def _changed(services: Services, rollout: Rollout) -> RolloutOut:
    services.bus.publish("rollouts", {"rollout": rollout.id})
    return RolloutOut.model_validate(_out(rollout))


@router.post("", status_code=201)
def start(services: ServicesDep, body: RolloutIn, by: By = "operator") -> RolloutOut:
    """Starts a rollout of an approved release."""
    with services.database.write() as session:
        rollout = service.start(
            session, services.clock.time(), by, body.digest, body.plan, wait=body.wait
        )
    return _changed(services, rollout)


@router.get("")
def list_rollouts(services: ServicesDep, line: str | None = None) -> list[RolloutOut]:
    """The latest first."""
    with services.database.read() as session:
        rollouts = service.list_rollouts(session, line)
    return [RolloutOut.model_validate(_out(rollout)) for rollout in rollouts]


@router.get("/{rollout_id}")
def show(services: ServicesDep, rollout_id: int) -> RolloutDetail:
    """One rollout with its devices and decisions."""
    with services.database.read() as session:
        return _detail(session, service.find_rollout(session, rollout_id))


@router.post("/{rollout_id}/pause")
def pause(
    services: ServicesDep, rollout_id: int, body: PauseIn | None = None, by: By = "operator"
) -> RolloutOut:
    """Stops the gates; devices keep what they have."""
    reason = body.reason if body else ""
    with services.database.write() as session:
        rollout = service.pause(session, services.clock.time(), by, rollout_id, reason)
    return _changed(services, rollout)


@router.post("/{rollout_id}/resume")
def resume(services: ServicesDep, rollout_id: int, by: By = "operator") -> RolloutOut:
    """Lets the gates judge again; the stage begins anew."""
    with services.database.write() as session:
        rollout = service.resume(session, services.clock.time(), by, rollout_id)
    return _changed(services, rollout)


@router.post("/{rollout_id}/abort")
def abort(
    services: ServicesDep, rollout_id: int, body: AbortIn | None = None, by: By = "operator"
) -> RolloutOut:
    """Ends it; devices go back to the champion unless told to keep the bundle."""
    wish = body or AbortIn()
    with services.database.write() as session:
        rollout = service.abort(
            session, services.clock.time(), by, rollout_id, keep=wish.keep, reason=wish.reason
        )
    return _changed(services, rollout)
