"""Windows, parts and events over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from fleet_contract.windows import Window
from fleet_server.drift.rules import features_of, parts_of, scores_of
from fleet_server.services import ServicesDep
from fleet_server.telemetry import service
from fleet_server.telemetry.models import EventRow, PartsRow, WindowRow
from fleet_server.telemetry.service import parse_body

router = APIRouter(tags=["telemetry"])

Limit = Annotated[int, Query(ge=1, le=2000)]


class WindowView(BaseModel):
    """A window by its means."""

    device: str
    line: str
    camera: str
    digest: str | None
    candidate: str | None
    start_s: float
    end_s: float
    parts: int
    sampled_frames: int
    features: dict[str, float]
    """Means of image features, thumbnail cells, score and share of rejects."""
    arms: dict[str, Any]
    shadow: dict[str, Any] | None


class PartsSummary(BaseModel):
    """What one camera's verdicts add up to."""

    device: str
    line: str
    camera: str
    accept: int
    reject: int
    no_decision: int
    first: int | None
    last: int | None
    counted: int
    """Distinct part numbers with a verdict."""
    missing: int
    missing_ranges: list[tuple[int, int]]
    """The first 100 of them."""
    duplicates: int


@router.get("/windows")
def windows(
    services: ServicesDep,
    device: str | None = None,
    line: str | None = None,
    since_s: float = 0.0,
    limit: Limit = 200,
) -> list[WindowView]:
    """The latest windows, in order of time."""
    with services.database.read() as session:
        return [_view(row) for row in service.recent_windows(session, device, line, since_s, limit)]


def _view(row: WindowRow) -> WindowView:
    window = parse_body(Window, row.body)
    names = ("device", "line", "camera", "digest", "candidate", "start_s", "end_s")
    return WindowView(
        **{name: getattr(row, name) for name in names},
        parts=parts_of(window),
        sampled_frames=window.sampled_frames,
        features={**features_of(window), **scores_of(window)},
        arms=row.body["arms"],
        shadow=row.body["shadow"],
    )


@router.get("/parts")
def parts(
    services: ServicesDep, device: str, before: int | None = None, limit: Limit = 50
) -> list[PartsRow]:
    """Batches of verdicts of a device, the latest first; `before` is an `id` to go on from."""
    with services.database.read() as session:
        return service.recent_parts(session, device, before, limit)


@router.get("/parts/summary")
def summary(services: ServicesDep, device: str | None = None) -> list[PartsSummary]:
    """Counts and missing numbers per device, line and camera."""
    with services.database.read() as session:
        found = service.parts_summary(session, device)
    return [
        PartsSummary(
            device=key[0],
            line=key[1],
            camera=key[2],
            **kinds,
            first=count.first,
            last=count.last,
            counted=count.counted,
            missing=count.missing_count,
            missing_ranges=count.missing[:100],
            duplicates=count.duplicates,
        )
        for key, (kinds, count) in sorted(found.items())
    ]


@router.get("/events")
def events(
    services: ServicesDep,
    device: str | None = None,
    kind: str | None = None,
    after: int = 0,
    limit: Limit = 200,
) -> list[EventRow]:
    """Events, the latest first; with `after` (an `id`) those since then, in their order."""
    with services.database.read() as session:
        return service.recent_events(session, device, kind, after, limit)
