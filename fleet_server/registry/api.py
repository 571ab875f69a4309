"""Devices, lines and orders over HTTP."""

import uuid
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fleet_contract.messages import Command
from fleet_server.audit.service import record
from fleet_server.db.engine import after_commit
from fleet_server.drift.service import strengths
from fleet_server.link.publisher import send_command
from fleet_server.registry import service
from fleet_server.registry.models import Device, Line
from fleet_server.services import ServicesDep

router = APIRouter(tags=["registry"])


class DeviceView(BaseModel):
    """A device as the API shows it."""

    name: str
    hardware: str
    site: str
    line: str | None
    online: bool
    last_seen: float | None
    clone_since: float | None
    spool_id: str | None
    state: dict[str, Any] | None
    heartbeat: dict[str, Any] | None
    bad_messages: int
    last_bad: str
    false_alarms: int


class DeviceDetail(DeviceView):
    """One device with what its statistics say."""

    certificate_pem: str
    drift: list[dict[str, Any]]
    """Per line and camera, how far each feature has moved (T)."""


class LineBody(BaseModel):
    """A line as a person configures it."""

    training_config: str = ""
    """TOML text for the trainer."""
    policy: dict[str, Any] = Field(default_factory=dict)
    epoch: int = Field(default=1, ge=1)
    by: str = Field(default="operator", min_length=1, max_length=100)


class Act(BaseModel):
    """Who does it."""

    by: str = Field(default="operator", min_length=1, max_length=100)


class CommandBody(Act):
    """An order to a device."""

    op: Literal["sample", "restart"]
    line: str | None = None
    count: int = Field(default=0, ge=0, le=1000)


class CommandSent(BaseModel):
    """The device answers by an event of kind `command` with this id."""

    id: str


def view(device: Device) -> DeviceView:
    """The device without its keys and signatures."""
    return DeviceView.model_validate(device, from_attributes=True)


@router.get("/devices")
def devices(services: ServicesDep, line: str | None = None) -> list[DeviceView]:
    """All devices, or those of a line, by name."""
    with services.database.read() as session:
        return [view(device) for device in service.list_devices(session, line)]


@router.get("/devices/{name}")
def device(services: ServicesDep, name: str) -> DeviceDetail:
    """One device."""
    with services.database.read() as session:
        found = service.find_device(session, name)
        return DeviceDetail(
            **view(found).model_dump(),
            certificate_pem=found.certificate_pem,
            drift=strengths(session, name),
        )


@router.post("/devices/{name}/commands", status_code=202)
def command(services: ServicesDep, name: str, body: CommandBody) -> CommandSent:
    """Orders a device to send its next parts as samples, or to restart."""
    order = Command(id=uuid.uuid4().hex, op=body.op, line=body.line, count=body.count)
    with services.database.write() as session:
        service.find_device(session, name)
        data = {"op": body.op, "count": body.count, "id": order.id}
        record(session, services.clock.time(), body.by, f"command.{body.op}", name, data)
        after_commit(session, lambda: send_command(services.publisher, name, order))
    return CommandSent(id=order.id)


@router.post("/devices/{name}/clear-clone")
def clear_clone(services: ServicesDep, name: str, body: Act) -> DeviceView:
    """One device reports under this name again."""
    with services.database.write() as session:
        return view(service.clear_clone(session, services.clock.time(), body.by, name))


@router.get("/lines")
def lines(services: ServicesDep) -> list[Line]:
    """All lines, by name."""
    with services.database.read() as session:
        return service.list_lines(session)


@router.get("/lines/{name}")
def line(services: ServicesDep, name: str) -> Line:
    """One line."""
    with services.database.read() as session:
        return service.find_line(session, name)


@router.put("/lines/{name}")
def put_line(services: ServicesDep, name: str, body: LineBody) -> Line:
    """Adds a line, or changes its configuration."""
    with services.database.write() as session:
        return service.put_line(
            session,
            services.clock.time(),
            body.by,
            name,
            training_config=body.training_config,
            policy=body.policy,
            epoch=body.epoch,
        )
