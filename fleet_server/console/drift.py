"""Drift: statistics against their threshold, baselines to accept, incidents and what follows them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlmodel import Session

from fleet_server.console import queries, words
from fleet_server.console.devices import drift_badge
from fleet_server.console.incidents import IncidentView, incident_view
from fleet_server.console.render import ACTOR, ConsoleRoute, go, page
from fleet_server.console.show import Badge, Tone, number, plain
from fleet_server.drift import baselines, playbook
from fleet_server.drift.models import Baseline, DriftState, Incident
from fleet_server.drift.rules import CELLS, Moved, Reference, Tracked, movements
from fleet_server.labels.service import count_labelled
from fleet_server.registry.models import Device
from fleet_server.registry.service import list_devices
from fleet_server.services import ServicesDep

LIMIT_AT = 80.0
"""Where the threshold lies on a gauge of 100."""
LOUD = 6
CELLS_SHOWN = 3
"""Thumbnail cells that a table shows: those that moved most."""

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class FeatureView:
    """One feature against its threshold; `bar` in [0, 100], the threshold at 80."""

    name: str
    baseline: str
    level: str
    t: float
    threshold: float
    bar: float
    tone: Tone


@dataclass(frozen=True, slots=True)
class StationDrift:
    """What is measured on one camera of a device, of one recipe."""

    device: str
    anchor: str
    title: str
    state: Badge
    note: str
    proposed: list[int]
    loud: list[FeatureView]
    """Those that moved most; the table shows them."""
    quiet: list[FeatureView]
    """The others; shown on demand."""


@dataclass(frozen=True, slots=True)
class DriftPage:
    """All incidents, open ones first, and every camera."""

    incidents: list[IncidentView]
    stations: list[StationDrift]


def feature_views(
    known: Mapping[str, Reference], tracked: Mapping[str, Tracked], threshold: float
) -> list[FeatureView]:
    """The features that moved most first, and of the thumbnail only a few cells."""
    moved = movements(known, tracked)
    order = sorted(moved, key=lambda name: -moved[name].strength)
    cells = [name for name in order if name in CELLS][:CELLS_SHOWN]
    return [
        _feature(name, known[name], tracked[name], moved[name], threshold)
        for name in order
        if name not in CELLS or name in cells
    ]


def _feature(
    name: str, known: Reference, tracked: Tracked, moved: Moved, threshold: float
) -> FeatureView:
    share = moved.strength / threshold
    return FeatureView(
        name=words.feature(name),
        baseline=f"{number(known.mean)} \u00b1 {number(known.sd)}",
        level=number(tracked.level),
        t=moved.strength,
        threshold=threshold,
        bar=min(LIMIT_AT * share, 100.0),
        tone="bad" if share >= 1 else "warn" if share >= 0.5 else "info",
    )


def station_views(
    states: Sequence[DriftState],
    known: Sequence[Baseline],
    incidents: Sequence[Incident],
    *,
    threshold: float,
    needed: int,
) -> list[StationDrift]:
    """One for each camera that has sent a window; `needed` windows make a baseline."""
    return [_station(state, known, incidents, threshold, needed) for state in states]


def _station(
    state: DriftState,
    known: Sequence[Baseline],
    incidents: Sequence[Incident],
    threshold: float,
    needed: int,
) -> StationDrift:
    key = (state.device, state.line, state.camera, state.recipe)
    here = [b for b in known if (b.device, b.line, b.camera, b.recipe) == key]
    accepted = next((b for b in here if b.state == "accepted"), None)
    proposed = [b.id for b in here if b.state == "proposed" and b.id is not None]
    measured = _measured(state, accepted, threshold)
    return StationDrift(
        device=state.device,
        anchor=f"{state.device}-{state.line}-{state.camera}{_mark(state.recipe)}",
        title=", ".join(word for word in (state.line, state.camera, state.recipe) if word),
        state=drift_badge(state.device, incidents, here),
        note=_note(state, accepted, bool(proposed), needed),
        proposed=proposed,
        loud=measured[:LOUD],
        quiet=measured[LOUD:],
    )


def _mark(recipe: str) -> str:
    """A recipe's name may be anything, an anchor's may not."""
    return f"-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}" if recipe else ""


def _note(state: DriftState, accepted: Baseline | None, proposed: bool, needed: int) -> str:
    if accepted:
        return f"Measured against {accepted.windows} windows, accepted by {accepted.accepted_by}."
    if proposed:
        return "A baseline is proposed. Look at the station's windows, then accept it."
    return f"{len(state.collected)} of {needed} windows collected for a baseline."


def _measured(state: DriftState, accepted: Baseline | None, threshold: float) -> list[FeatureView]:
    if accepted is None:
        return []
    known = baselines.unpack({**accepted.features, **accepted.scores})
    tracked = {
        name: Tracked(s, level, int(parts)) for name, (s, level, parts) in state.features.items()
    }
    shared = known.keys() & tracked.keys()
    return feature_views({name: known[name] for name in shared}, tracked, threshold)


def _build(
    session: Session, devices: Sequence[Device], *, threshold: float, needed: int
) -> DriftPage:
    incidents = queries.incidents(session)
    names = {device.name for device in devices}
    states = [state for state in queries.drift_states(session) if state.device in names]
    return DriftPage(
        incidents=[
            incident_view(incident, *count_labelled(session, incident.id or 0))
            for incident in incidents
        ],
        stations=station_views(
            states,
            baselines.list_baselines(session),
            incidents,
            threshold=threshold,
            needed=needed,
        ),
    )


@router.get("/drift")
def drift(request: Request, services: ServicesDep) -> HTMLResponse:
    """Incidents, statistics, baselines."""
    config = services.config.drift
    with services.database.read() as session:
        view = _build(
            session,
            list_devices(session),
            threshold=config.threshold,
            needed=config.baseline_windows,
        )
    return page(request, "drift.html", now=services.clock.time(), page=view)


@router.post("/baselines/{baseline_id}/accept")
def accept(
    services: ServicesDep, baseline_id: int, device: Annotated[str, Form()] = ""
) -> RedirectResponse:
    """A person accepts a proposed baseline; back to the station's page, or to drift."""
    with services.database.write() as session:
        baselines.accept(session, services.clock.time(), ACTOR, baseline_id)
    services.bus.publish("baselines", {"baseline": baseline_id})
    return go(f"/stations/{device}" if device else "/drift")


@router.post("/incidents/{incident_id}/close")
def close(
    services: ServicesDep,
    incident_id: int,
    how: Annotated[str, Form(pattern="^(mended|false_alarm|new_normal)$")] = "mended",
) -> RedirectResponse:
    """A person closes an incident: mended, a false alarm, or how it is to be from now on."""
    with services.database.write() as session:
        playbook.close(
            session,
            services.clock.time(),
            ACTOR,
            incident_id,
            note=plain(how),
            false_alarm=how == "false_alarm",
            rebaseline=how == "new_normal",
        )
    services.bus.publish("incidents", {"incident": incident_id})
    return go("/drift")
