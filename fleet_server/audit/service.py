"""Appends to the audit log, and proves it."""

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from fleet_server.audit.models import AuditEntry
from fleet_server.audit.rules import START, Link, first_break


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether the chain holds; `broken_at` is the `seq` of the first entry that does not fit."""

    whole: bool
    entries: int
    broken_at: int | None
    head: str
    """Hash of the last entry: keep it elsewhere to notice a cut-off end."""


def record(
    session: Session,
    now: float,
    actor: str,
    action: str,
    subject: str,
    data: dict[str, Any] | None = None,
) -> AuditEntry:
    """Appends one act within the caller's write transaction.

    `actor` is a person's name, `device:NAME`, `worker:NAME` or `rule:NAME`; `action` a dotted verb
    (`baseline.accept`); `data` is JSON.
    """
    last = session.exec(select(AuditEntry).order_by(col(AuditEntry.seq).desc()).limit(1)).first()
    link = Link(now, actor, action, subject, data or {}, last.hash if last else START)
    entry = AuditEntry(
        at=now,
        actor=actor,
        action=action,
        subject=subject,
        data=link.data,
        previous_hash=link.previous_hash,
        hash=link.hash(),
    )
    session.add(entry)
    session.flush()
    return entry


def entries(
    session: Session, *, subject: str | None = None, limit: int = 200, before: int | None = None
) -> list[AuditEntry]:
    """The latest entries first."""
    query = select(AuditEntry).order_by(col(AuditEntry.seq).desc()).limit(limit)
    if subject:
        query = query.where(col(AuditEntry.subject) == subject)
    if before is not None:
        query = query.where(col(AuditEntry.seq) < before)
    return list(session.exec(query))


def verify(session: Session) -> Verification:
    """Walks the whole chain."""
    rows = list(session.exec(select(AuditEntry).order_by(col(AuditEntry.seq))))
    broken = first_break(
        (Link(r.at, r.actor, r.action, r.subject, r.data, r.previous_hash), r.hash) for r in rows
    )
    return Verification(
        whole=broken is None,
        entries=len(rows),
        broken_at=None if broken is None else rows[broken].seq,
        head=rows[-1].hash if rows else START,
    )
