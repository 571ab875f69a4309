"""The overview: a card a station, and what is under way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlmodel import Session

from fleet_contract.messages import DeviceState, LineState
from fleet_server.console import queries, series, words
from fleet_server.console.devices import EventView, drift_badge, event_view, link_badge
from fleet_server.console.render import ConsoleRoute, page
from fleet_server.console.rollouts import RolloutLine, under_way
from fleet_server.console.runs import RunRow
from fleet_server.console.runs import row as run_row
from fleet_server.console.show import Badge, Counts, Tone
from fleet_server.drift.baselines import list_baselines
from fleet_server.drift.models import Baseline, Incident
from fleet_server.registry.models import Device
from fleet_server.registry.service import list_devices
from fleet_server.runs.models import TrainingRun
from fleet_server.runs.service import list_runs
from fleet_server.services import ServicesDep
from fleet_server.telemetry.models import EventRow, WindowRow

WINDOWS = 60
"""Windows of the small picture on a card."""
EVENTS = 16

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class StationCard:
    """One station at a glance."""

    name: str
    link: Badge
    drift: Badge
    line: str
    digest: str
    candidate: str
    update: Badge | None
    counts: Counts
    missing: int
    last_verdict_s: float | None
    spark: list[float]
    spark_label: str


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """An open incident in a list."""

    id: str
    device: str
    cause: Badge
    state: Badge
    text: str
    opened_s: float


@dataclass(frozen=True, slots=True)
class OverviewPage:
    """Everything at a glance."""

    summary: list[Badge]
    stations: list[StationCard]
    incidents: list[IncidentLine]
    rollouts: list[RolloutLine]
    runs: list[RunRow]
    events: list[EventView]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the overview is built from; windows per device in order of time."""

    devices: Sequence[Device]
    tallies: Mapping[str, queries.Tally]
    windows: Mapping[str, Sequence[WindowRow]]
    baselines: Sequence[Baseline]
    incidents: Sequence[Incident]


def card(device: Device, fleet: Fleet) -> StationCard:
    """The card of one device."""
    line, slots = _first_line(device)
    tally = fleet.tallies.get(device.name, queries.Tally())
    bodies = series.one_place([row.body for row in fleet.windows.get(device.name, ())])
    means = [series.feature_mean(body, "mean") for body in bodies]
    update = slots.update if slots else None
    return StationCard(
        name=device.name,
        link=link_badge(device),
        drift=drift_badge(device.name, fleet.incidents, fleet.baselines),
        line=line,
        digest=slots.active.digest if slots and slots.active else "",
        candidate=slots.candidate.digest if slots and slots.candidate else "",
        update=words.update(update.state) if update else None,
        counts=tally.counts,
        missing=tally.missing,
        last_verdict_s=tally.received_at,
        spark=[mean for mean in means if mean is not None],
        spark_label=f"Mean grey of the last {len(means)} windows",
    )


def _first_line(device: Device) -> tuple[str, LineState | None]:
    lines = DeviceState.model_validate(device.state).lines if device.state else {}
    name = device.line or next(iter(lines), "")
    return name, lines.get(name)


def incident_line(incident: Incident) -> IncidentLine:
    """The incident as lists show it."""
    title, _ = words.CAUSES.get(incident.cause, (incident.cause, ""))
    return IncidentLine(
        id=str(incident.id),
        device=incident.device,
        cause=Badge(incident.cause, "bad"),
        state=words.incident(incident.state),
        text=f"{title.lower()}.",
        opened_s=incident.opened_at,
    )


def summary(devices: Sequence[Device]) -> list[Badge]:
    """How many stations are there."""
    if not devices:
        return []
    online = sum(device.online for device in devices)
    tone: Tone = "ok" if online == len(devices) else "bad"
    return [Badge(f"{online} of {len(devices)} stations online", tone)]


def build(
    fleet: Fleet,
    going: Sequence[RolloutLine],
    training: Sequence[TrainingRun],
    events: Sequence[EventRow],
) -> OverviewPage:
    """The page."""
    open_ones = [incident for incident in fleet.incidents if incident.state != "closed"]
    return OverviewPage(
        summary=summary(fleet.devices),
        stations=[card(device, fleet) for device in fleet.devices],
        incidents=[incident_line(incident) for incident in open_ones],
        rollouts=list(going),
        runs=[run_row(run) for run in training if run.state in ("queued", "leased")],
        events=[event_view(row) for row in events],
    )


def _fleet(session: Session) -> Fleet:
    devices = list_devices(session)
    return Fleet(
        devices=devices,
        tallies=queries.tallies(session),
        windows={d.name: queries.recent_windows(session, d.name, WINDOWS) for d in devices},
        baselines=list_baselines(session),
        incidents=queries.incidents(session),
    )


@router.get("/")
def overview(request: Request, services: ServicesDep) -> HTMLResponse:
    """Everything at a glance."""
    with services.database.read() as session:
        view = build(
            _fleet(session),
            under_way(session),
            list_runs(session),
            queries.recent_events(session, EVENTS),
        )
    return page(request, "overview.html", now=services.clock.time(), page=view)
