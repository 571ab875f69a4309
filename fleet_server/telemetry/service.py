"""Stores what devices send, once, and reads it back."""

import json
import math
from collections import defaultdict
from typing import Any, TypeVar, cast

from pydantic import ValidationError
from sqlalchemy import delete
from sqlalchemy.orm import QueryableAttribute, defer
from sqlmodel import Session, SQLModel, col, func, select

from fleet_contract.errors import ContractError
from fleet_contract.messages import (
    Ack,
    Envelope,
    EventBody,
    Message,
    PartsBody,
    Record,
    Stream,
    UpdateStep,
    first_problem,
)
from fleet_contract.names import Verdict
from fleet_contract.windows import Window
from fleet_server.telemetry.models import EventRow, PartsRow, StreamPosition, WindowRow
from fleet_server.telemetry.rules import (
    LARGEST_NUMBER,
    PartsCount,
    Position,
    count_parts,
    ranges,
)

_Body = TypeVar("_Body", bound=Message)

_PARTS_BODY = cast(QueryableAttribute[Any], PartsRow.body)

SERVER_SPOOL = "server"
"""`spool_id` of events that the server itself tells of a device."""


def position(session: Session, device: str, spool_id: str, stream: Stream) -> Position:
    """How far the stream is stored."""
    row = session.get(StreamPosition, (device, spool_id, stream.value))
    if row is None:
        return Position()
    return Position(row.contiguous, tuple((first, last) for first, last in row.beyond))


def advance(
    session: Session, device: str, spool_id: str, stream: Stream, record: Record, now: float
) -> bool:
    """Notes that `record` is stored. False where it was before, or has to come again later."""
    before = position(session, device, spool_id, stream)
    if before.has(record.number) and before.has(record.through):
        return False
    after = before.add(record.number, record.through)
    if after is None:
        return False
    row = session.get(StreamPosition, (device, spool_id, stream.value))
    if row is None:
        row = StreamPosition(device=device, spool_id=spool_id, stream=stream.value, first_seen=now)
    row.contiguous, row.beyond = after.contiguous, [list(pair) for pair in after.beyond]
    row.dropped += record.gap.records if record.gap else 0
    session.add(row)
    session.flush()
    return True


def store(session: Session, envelope: Envelope, now: float) -> list[ContractError]:
    """Stores the envelope's records (windows, parts, events) that are not there yet.

    Returns what was wrong with records that break the contract: those count as stored, because a
    record that can never be taken must not hold up the stream for ever.
    """
    problems: list[ContractError] = []
    for record in envelope.records:
        _check_numbers(record)
        if not advance(session, envelope.device, envelope.spool_id, envelope.stream, record, now):
            continue
        if record.body is None:
            continue
        try:
            session.add(_row(envelope, record, record.body, now))
        except ContractError as error:
            problems.append(error)
    session.flush()
    return problems


def _check_numbers(record: Record) -> None:
    if record.through > LARGEST_NUMBER or not math.isfinite(record.time_s):
        raise ContractError("a record's numbers are out of bounds", expected="below 2^53, finite")


def _row(envelope: Envelope, record: Record, body: dict[str, Any], now: float) -> SQLModel:
    key: dict[str, Any] = {
        "device": envelope.device,
        "spool_id": envelope.spool_id,
        "number": record.number,
        "received_at": now,
    }
    try:
        json.dumps(body, allow_nan=False)
    except ValueError as error:
        raise ContractError("a record holds NaN or infinity", found=str(error)) from error
    if envelope.stream is Stream.WINDOWS:
        return _window_row(key, parse_body(Window, body))
    if envelope.stream is Stream.PARTS:
        return _parts_row(key, parse_body(PartsBody, body))
    return _event_row(key, parse_body(EventBody, body), record.time_s)


def parse_body(model: type[_Body], body: dict[str, Any]) -> _Body:
    """The body of a record. Raises ContractError that names the field that is wrong."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise ContractError(f"not a {model.__name__} record: {first_problem(error)}") from error


def _window_row(key: dict[str, Any], window: Window) -> WindowRow:
    if not (math.isfinite(window.start_s) and math.isfinite(window.end_s)):
        raise ContractError("a window's times are not finite")
    shadow = (window.shadow.score_difference, window.shadow.latency_ms) if window.shadow else ()
    for histogram in (*window.features.values(), window.score, window.latency_ms, *shadow):
        histogram.histogram()
    return WindowRow(
        **key,
        line=window.line,
        camera=window.camera,
        digest=window.digest,
        candidate=window.shadow.candidate if window.shadow else None,
        start_s=window.start_s,
        end_s=window.end_s,
        body=window.model_dump(mode="json"),
    )


def _parts_row(key: dict[str, Any], parts: PartsBody) -> PartsRow:
    numbers = [verdict.number for verdict in parts.verdicts]
    if max(numbers) > LARGEST_NUMBER:
        raise ContractError("a part's number is out of bounds", expected="below 2^53")
    verdicts = [part.verdict for part in parts.verdicts]
    return PartsRow(
        **key,
        line=parts.line,
        camera=parts.camera,
        first_part=min(numbers),
        last_part=max(numbers),
        count=len(numbers),
        accept=verdicts.count(Verdict.ACCEPT),
        reject=verdicts.count(Verdict.REJECT),
        no_decision=verdicts.count(Verdict.NO_DECISION),
        body=[part.model_dump(mode="json", exclude_defaults=True) for part in parts.verdicts],
    )


def _event_row(key: dict[str, Any], event: EventBody, time_s: float) -> EventRow:
    if event.kind == "update":
        # Rollouts are judged by these: one that cannot be read must not get that far.
        parse_body(UpdateStep, event.data)
    named = event.data.get("digest")
    return EventRow(
        **key,
        kind=event.kind,
        severity=event.severity,
        line=event.line,
        digest=event.digest or (named if isinstance(named, str) else None),
        text=event.text,
        data=event.data,
        time_s=time_s,
    )


def server_event(
    session: Session,
    device: str,
    now: float,
    event: EventBody,
) -> EventRow:
    """An event that the server tells of a device, beside the device's own."""
    last = session.exec(
        select(EventRow.number)
        .where(EventRow.device == device, EventRow.spool_id == SERVER_SPOOL)
        .order_by(col(EventRow.number).desc())
        .limit(1)
    ).first()
    key = {"device": device, "spool_id": SERVER_SPOOL, "number": (last or 0) + 1}
    row = _event_row({**key, "received_at": now}, event, now)
    session.add(row)
    session.flush()
    return row


def acknowledgement(session: Session, device: str, spool_id: str) -> Ack | None:
    """What is stored of the spool, for the device; None where nothing is."""
    rows = session.exec(
        select(StreamPosition).where(
            StreamPosition.device == device, StreamPosition.spool_id == spool_id
        )
    ).all()
    if not rows:
        return None
    return Ack(spool_id=spool_id, streams={Stream(row.stream): row.contiguous for row in rows})


def parts_summary(
    session: Session, device: str | None = None
) -> dict[tuple[str, str, str], tuple[dict[str, int], PartsCount]]:
    """Per (device, line, camera): how many verdicts of each kind, and which numbers are missing.

    Numbers are the triggers'. A camera that begins to count anew shows as duplicates; the device
    tells of it by an event.
    """
    # Bodies are loaded only where numbers are missing within a batch.
    query = select(PartsRow).order_by(col(PartsRow.id)).options(defer(_PARTS_BODY))
    if device:
        query = query.where(PartsRow.device == device)
    kinds: dict[tuple[str, str, str], dict[str, int]] = defaultdict(
        lambda: dict.fromkeys([kind.value for kind in Verdict], 0)
    )
    numbers: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for row in session.exec(query):
        key = (row.device, row.line, row.camera)
        for kind in Verdict:
            kinds[key][kind.value] += getattr(row, kind.value)
        numbers[key] += _row_ranges(row)
    return {key: (kinds[key], count_parts(numbers[key])) for key in kinds}


def _row_ranges(row: PartsRow) -> list[tuple[int, int]]:
    if row.last_part - row.first_part + 1 == row.count:
        return [(row.first_part, row.last_part)]
    return ranges(part["number"] for part in row.body)


def recent_windows(
    session: Session, device: str | None, line: str | None, since_s: float, limit: int
) -> list[WindowRow]:
    """The latest `limit` windows, in order of time."""
    query = select(WindowRow).where(WindowRow.start_s >= since_s)
    query = query.where(WindowRow.device == device) if device else query
    query = query.where(WindowRow.line == line) if line else query
    rows = session.exec(query.order_by(col(WindowRow.id).desc()).limit(limit)).all()
    return sorted(rows, key=lambda row: (row.start_s, row.id))


def recent_parts(session: Session, device: str, before: int | None, limit: int) -> list[PartsRow]:
    """Batches of verdicts, the latest first."""
    query = select(PartsRow).where(PartsRow.device == device)
    query = query.where(col(PartsRow.id) < before) if before is not None else query
    return list(session.exec(query.order_by(col(PartsRow.id).desc()).limit(limit)))


def recent_events(
    session: Session, device: str | None, kind: str | None, after: int, limit: int
) -> list[EventRow]:
    """The latest first; after an id, in their order."""
    query = select(EventRow).limit(limit)
    query = query.where(EventRow.device == device) if device else query
    query = query.where(EventRow.kind == kind) if kind else query
    if after:
        return list(session.exec(query.where(col(EventRow.id) > after).order_by(col(EventRow.id))))
    return list(session.exec(query.order_by(col(EventRow.id).desc())))


def forget_windows(session: Session, before_s: float) -> int:
    """Deletes windows that came before, but never the newest: its id says where to go on."""
    newest = select(func.max(col(WindowRow.id))).scalar_subquery()
    old = delete(WindowRow).where(col(WindowRow.received_at) < before_s, col(WindowRow.id) < newest)
    return session.connection().execute(old).rowcount
