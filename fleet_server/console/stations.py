"""One station: what it really runs, what it decided, what its windows say, how it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from fleet_contract.messages import DeviceState, Heartbeat, LineState, SlotState
from fleet_server.console import queries, series, words
from fleet_server.console.devices import EventView, drift_badge, event_view, health, link_badge
from fleet_server.console.render import ACTOR, ConsoleRoute, go, page
from fleet_server.console.show import Badge, Chart, Counts, Fact, percent
from fleet_server.drift.baselines import list_baselines
from fleet_server.drift.models import Baseline, Incident
from fleet_server.drift.rules import CELLS
from fleet_server.registry.models import Device
from fleet_server.registry.service import clear_clone, find_device
from fleet_server.services import ServicesDep
from fleet_server.telemetry.models import EventRow, WindowRow

WINDOWS = 240
"""Windows that the charts show."""
THUMBNAILS = 10
"""Last windows that the thumbnail is the mean of."""
EVENTS = 40

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class SlotView:
    """What lies in a slot."""

    name: str
    digest: str
    attempt: int
    since_s: float


@dataclass(frozen=True, slots=True)
class LineView:
    """One line on the device."""

    name: str
    inspecting: Badge
    update: Badge | None
    update_reason: str
    slots: list[SlotView]


@dataclass(frozen=True, slots=True)
class BaselineView:
    """A baseline, and whether a person may accept it now."""

    id: int
    state: Badge
    camera: str
    windows: int
    accepted_s: float | None
    accepted_by: str
    can_accept: bool


@dataclass(frozen=True, slots=True)
class StationPage:
    """Everything that is known of one device."""

    name: str
    link: Badge
    drift: Badge
    last_seen_s: float | None
    cloned_s: float | None
    """Since when two agents report under the name; None: one does."""
    reported: str
    lines: list[LineView]
    counts: Counts
    first_part: int | None
    last_part: int | None
    missing: int
    last_verdict_s: float | None
    baselines: list[BaselineView]
    charts: list[Chart]
    charted: str
    """Whose windows these are, where there are others too."""
    thumbnail: list[series.Cell] | None
    thumbnail_change: list[series.Cell] | None
    thumbnail_span: str
    health: list[Fact]
    heartbeat_s: float | None
    events: list[EventView]


def line_views(state: DeviceState | None) -> list[LineView]:
    """The lines of a reported state, by name."""
    return [_line(name, line) for name, line in sorted(state.lines.items())] if state else []


def _line(name: str, line: LineState) -> LineView:
    slots = [("active", line.active), ("candidate", line.candidate), ("previous", line.previous)]
    update = line.update
    return LineView(
        name=name,
        inspecting=Badge("inspecting", "ok")
        if line.inspecting
        else Badge("not inspecting", "warn"),
        update=words.update(update.state) if update else None,
        update_reason=update.reason if update else "",
        slots=[
            SlotView(
                _slot_name(slot, held),
                held.digest if held else "",
                held.attempt if held else 0,
                held.since_s if held else 0.0,
            )
            for slot, held in slots
        ],
    )


def _slot_name(slot: str, held: SlotState | None) -> str:
    share = held.share if held else None
    return f"{slot}, judges {100 * share:g} % of the parts" if share else slot


def baseline_views(baselines: Sequence[Baseline]) -> list[BaselineView]:
    """Baselines, the newest first, without those long retired."""
    shown = [b for b in baselines if b.state != "retired"] or list(baselines[:1])
    return [
        BaselineView(
            id=b.id or 0,
            state=words.baseline(b.state),
            camera=f"{b.camera}, {b.recipe}" if b.recipe else b.camera,
            windows=b.windows,
            accepted_s=b.accepted_at,
            accepted_by=b.accepted_by or "",
            can_accept=b.state == "proposed",
        )
        for b in shown
    ]


def accepted(baselines: Sequence[Baseline]) -> Baseline | None:
    """The baseline that counts."""
    return next((b for b in baselines if b.state == "accepted"), None)


def chart_baseline(baseline: Baseline | None) -> dict[str, list[float]]:
    """Statistics per feature, of the picture and of the scores."""
    return {**baseline.features, **baseline.scores} if baseline else {}


def _thumbnails(
    bodies: Sequence[series.Body], statistics: Mapping[str, Sequence[float]]
) -> tuple[list[series.Cell] | None, list[series.Cell] | None, str]:
    values = series.mean_thumbnail(bodies[-THUMBNAILS:])
    if values is None:
        return None, None, ""
    if not all(cell in statistics for cell in CELLS):
        return series.grey_cells(values), None, ""
    change, full = series.change_cells(values, [statistics[cell][0] for cell in CELLS])
    return series.grey_cells(values), change, f"full colour is {percent(full)}"


def build(
    device: Device,
    tally: queries.Tally,
    windows: Sequence[WindowRow],
    baselines: Sequence[Baseline],
    incidents: Sequence[Incident],
    events: Sequence[EventRow],
) -> StationPage:
    """The page of one device; windows in order of time, the rest the newest first."""
    state = DeviceState.model_validate(device.state) if device.state else None
    beat = Heartbeat.model_validate(device.heartbeat) if device.heartbeat else None
    told = [row.body for row in windows]
    bodies = series.one_place(told)
    place = series.place(bodies[-1]) if bodies else ("", "")
    here = [b for b in baselines if (b.camera, b.recipe) == place]
    statistics = chart_baseline(accepted(here))
    thumbnail, change, full = _thumbnails(bodies, statistics)
    return StationPage(
        name=device.name,
        link=link_badge(device),
        drift=drift_badge(device.name, incidents, baselines),
        last_seen_s=device.last_seen,
        cloned_s=device.clone_since,
        reported=f"signed report {state.counter}, {state.runtime}, agent {state.agent_version}"
        if state
        else "",
        lines=line_views(state),
        counts=tally.counts,
        first_part=tally.first,
        last_part=tally.last,
        missing=tally.missing,
        last_verdict_s=tally.received_at,
        baselines=baseline_views(baselines),
        charts=series.charts(bodies, statistics),
        charted=", ".join(filter(None, place)) if len(bodies) < len(told) else "",
        thumbnail=thumbnail,
        thumbnail_change=change,
        thumbnail_span=full,
        health=health(beat, device),
        heartbeat_s=beat.time_s if beat else None,
        events=[event_view(row) for row in events],
    )


@router.get("/stations/{name}")
def station(request: Request, services: ServicesDep, name: str) -> HTMLResponse:
    """One device."""
    with services.database.read() as session:
        view = build(
            find_device(session, name),
            queries.tallies(session).get(name, queries.Tally()),
            queries.recent_windows(session, name, WINDOWS),
            list_baselines(session, name),
            queries.incidents(session),
            queries.recent_events(session, EVENTS, name),
        )
    return page(request, "station.html", now=services.clock.time(), page=view)


@router.post("/stations/{name}/one")
def one_again(services: ServicesDep, name: str) -> RedirectResponse:
    """A person says that one device reports under this name again."""
    with services.database.write() as session:
        clear_clone(session, services.clock.time(), ACTOR, name)
    services.bus.publish("devices", {"device": name})
    return go(f"/stations/{name}")
