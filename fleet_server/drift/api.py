"""Baselines and incidents over HTTP."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fleet_server.drift import baselines as baseline_service
from fleet_server.drift import playbook
from fleet_server.drift.models import Baseline, Incident
from fleet_server.labels.service import count_labelled
from fleet_server.registry.api import Act
from fleet_server.services import ServicesDep

router = APIRouter(tags=["drift"])


class IncidentView(BaseModel):
    """An incident, and how far its samples are labelled."""

    incident: Incident
    samples: int
    labelled: int


class CloseBody(Act):
    """A person closes an incident."""

    note: str = Field(default="", max_length=500)
    false_alarm: bool = False
    """No drift at all: counted against the device."""
    rebaseline: bool = False
    """What is now is right from now on: the next windows make a new proposal."""


class Place(Act):
    """One camera of one device on one line."""

    device: str
    line: str
    camera: str


@router.get("/incidents")
def incidents(
    services: ServicesDep, state: str | None = None, device: str | None = None
) -> list[Incident]:
    """Incidents, the latest first; `state=open` gives every one that is not closed."""
    with services.database.read() as session:
        return playbook.list_incidents(session, state, device)


@router.get("/incidents/{incident_id}")
def incident(services: ServicesDep, incident_id: int) -> IncidentView:
    """One incident."""
    with services.database.read() as session:
        found = playbook.find_incident(session, incident_id)
        samples, labelled = count_labelled(session, incident_id)
    return IncidentView(incident=found, samples=samples, labelled=labelled)


@router.post("/incidents/{incident_id}/close")
def close(services: ServicesDep, incident_id: int, body: CloseBody) -> Incident:
    """Closes an incident."""
    with services.database.write() as session:
        found = playbook.close(
            session,
            services.clock.time(),
            body.by,
            incident_id,
            note=body.note,
            false_alarm=body.false_alarm,
            rebaseline=body.rebaseline,
        )
    services.bus.publish("incidents", {"incident": incident_id, "state": found.state})
    return found


@router.get("/baselines")
def baselines(services: ServicesDep, device: str | None = None) -> list[Baseline]:
    """Baselines, the latest first."""
    with services.database.read() as session:
        return baseline_service.list_baselines(session, device)


@router.post("/baselines/{baseline_id}/accept")
def accept(services: ServicesDep, baseline_id: int, body: Act) -> Baseline:
    """A person says that this period was right."""
    with services.database.write() as session:
        found = baseline_service.accept(session, services.clock.time(), body.by, baseline_id)
    services.bus.publish("baselines", {"device": found.device, "baseline": baseline_id})
    return found


@router.post("/baselines/renew", status_code=202)
def renew(services: ServicesDep, body: Place) -> None:
    """The baseline of a camera retires; the next windows make a new proposal."""
    with services.database.write() as session:
        now = services.clock.time()
        baseline_service.retire(session, now, body.by, body.device, body.line, body.camera)
