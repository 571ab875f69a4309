"""The audit page: the chain, whole or broken."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from fleet_server.audit import service
from fleet_server.audit.models import AuditEntry
from fleet_server.console.render import ConsoleRoute, page
from fleet_server.console.show import Badge, short
from fleet_server.services import ServicesDep

PER_PAGE = 100
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class EntryView:
    """One act."""

    seq: int
    at_s: float
    actor: str
    action: str
    subject: str
    data: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """The newest entries first; `older` leads to those before."""

    chain: Badge
    chain_text: str
    entries: list[EntryView]
    older: str


def build(entries: Sequence[AuditEntry], verification: service.Verification) -> AuditPage:
    """The page of `entries`, in descending order."""
    if verification.whole:
        chain = Badge("chain verified", "ok")
        text = (
            f"{verification.entries} entries, each bound to the one before by its hash. "
            f"The last hash is {verification.head}; keep it elsewhere to notice a cut-off end."
        )
    else:
        chain = Badge("chain broken", "bad")
        text = (
            f"Entry {verification.broken_at} does not fit its hash or the entry before it: "
            "this database was changed by something else than Loupe."
        )
    last = entries[-1].seq if entries else None
    more = len(entries) == PER_PAGE and last is not None and last > 1
    return AuditPage(
        chain, text, [_entry(e) for e in entries], f"/audit?before={last}" if more else ""
    )


def _entry(entry: AuditEntry) -> EntryView:
    return EntryView(
        seq=entry.seq or 0,
        at_s=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        data=_compact(entry.data),
        hash=entry.hash,
    )


def _compact(data: dict[str, Any]) -> str:
    text = _DIGEST.sub(lambda found: short(found[0]), json.dumps(data, ensure_ascii=False))
    text = text if data else ""
    return text if len(text) <= 300 else f"{text[:297]}..."


@router.get("/audit")
def audit(request: Request, services: ServicesDep, before: int | None = None) -> HTMLResponse:
    """The newest acts, or those before the entry `before`."""
    with services.database.read() as session:
        view = build(
            service.entries(session, limit=PER_PAGE, before=before), service.verify(session)
        )
    return page(request, "audit.html", now=services.clock.time(), page=view)
