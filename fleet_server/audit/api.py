"""The audit log over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from fleet_server.audit import service
from fleet_server.audit.models import AuditEntry
from fleet_server.services import ServicesDep

router = APIRouter(tags=["audit"], prefix="/audit")


class VerificationView(BaseModel):
    """Whether the chain holds."""

    whole: bool
    entries: int
    broken_at: int | None
    head: str


@router.get("")
def entries(
    services: ServicesDep,
    subject: str | None = None,
    before: int | None = None,
    limit: Annotated[int, Query(ge=1, le=2000)] = 200,
) -> list[AuditEntry]:
    """Entries, the latest first; `before` is a `seq` to go on from."""
    with services.database.read() as session:
        return service.entries(session, subject=subject, before=before, limit=limit)


@router.get("/verify")
def verify(services: ServicesDep) -> VerificationView:
    """Walks the whole chain."""
    with services.database.read() as session:
        found = service.verify(session)
    return VerificationView(
        whole=found.whole, entries=found.entries, broken_at=found.broken_at, head=found.head
    )
