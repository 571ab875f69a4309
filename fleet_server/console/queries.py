"""Reads that only the console needs: sums over what the services keep row by row."""

from dataclasses import dataclass, field

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from fleet_server.console.show import Counts
from fleet_server.distribution.models import Push
from fleet_server.drift.models import DriftState, Incident
from fleet_server.labels.models import Sample
from fleet_server.rollouts.models import Rollout
from fleet_server.telemetry.models import EventRow, PartsRow, WindowRow


@dataclass(frozen=True, slots=True)
class Tally:
    """Verdicts of one device, summed by the database."""

    counts: Counts = field(default_factory=Counts)
    first: int | None = None
    last: int | None = None
    missing: int = 0
    """Numbers between first and last without a verdict, as long as none came twice."""
    received_at: float | None = None


def tallies(session: Session) -> dict[str, Tally]:
    """Per device; several cameras of one device add up."""
    query = select_columns(
        col(PartsRow.device),
        func.sum(col(PartsRow.accept)),
        func.sum(col(PartsRow.reject)),
        func.sum(col(PartsRow.no_decision)),
        func.min(col(PartsRow.first_part)),
        func.max(col(PartsRow.last_part)),
        func.max(col(PartsRow.received_at)),
    ).group_by(col(PartsRow.device), col(PartsRow.line), col(PartsRow.camera))
    found: dict[str, Tally] = {}
    for row in session.connection().execute(query):
        device, accept, reject, undecided, first, last, received = row
        counts = Counts(accept, reject, undecided)
        missing = max(0, last - first + 1 - counts.parts)
        found[device] = _sum(found.get(device), Tally(counts, first, last, missing, received))
    return found


def _sum(before: Tally | None, more: Tally) -> Tally:
    if before is None:
        return more
    a, b = before.counts, more.counts
    return Tally(
        Counts(a.accept + b.accept, a.reject + b.reject, a.no_decision + b.no_decision),
        before.first,
        before.last,
        before.missing + more.missing,
        max(before.received_at or 0.0, more.received_at or 0.0),
    )


def recent_windows(session: Session, device: str, count: int) -> list[WindowRow]:
    """The device's last windows, in order of time."""
    query = (
        select(WindowRow)
        .where(WindowRow.device == device)
        .order_by(col(WindowRow.id).desc())
        .limit(count)
    )
    return sorted(session.exec(query), key=lambda row: row.end_s)


def recent_events(session: Session, count: int, device: str | None = None) -> list[EventRow]:
    """The last events to come in, the newest first."""
    query = select(EventRow).order_by(col(EventRow.id).desc()).limit(count)
    rows = session.exec(query.where(EventRow.device == device) if device else query)
    return sorted(rows, key=lambda row: -row.time_s)


def drift_states(session: Session) -> list[DriftState]:
    """What is carried from window to window, by device and camera."""
    return list(session.exec(select(DriftState).order_by(col(DriftState.device))))


def incidents(session: Session, count: int = 50) -> list[Incident]:
    """Open ones first, then the newest first."""
    query = select(Incident).order_by(
        (col(Incident.state) == "closed"), col(Incident.id).desc()
    ).limit(count)  # fmt: skip
    return list(session.exec(query))


@dataclass(frozen=True, slots=True)
class SampleGroup:
    """How many samples of one reason and incident there are."""

    why: str
    incident: int | None
    total: int
    labelled: int


def sample_groups(session: Session) -> list[SampleGroup]:
    """Samples counted by why they were sent, and for which incident."""
    key = col(Sample.why), col(Sample.incident)
    query = select(*key, func.count(), func.count(col(Sample.label))).group_by(*key)
    return [SampleGroup(*row) for row in session.exec(query)]


def update_steps(session: Session, rollout: Rollout, count: int) -> list[EventRow]:
    """The last update steps that devices reported for this rollout, the newest first."""
    query = (
        select(EventRow)
        .where(
            EventRow.kind == "update", col(EventRow.data)["rollout"].as_string() == str(rollout.id)
        )
        .order_by(col(EventRow.id).desc())
        .limit(count)
    )
    return list(session.exec(query))


def pushes(session: Session, bundle: str) -> list[Push]:
    """How the bundle was sent to devices, the newest first."""
    query = select(Push).where(Push.bundle == bundle).order_by(col(Push.id).desc())
    return list(session.exec(query))
