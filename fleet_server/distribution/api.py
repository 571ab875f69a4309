"""What was sent to devices, over HTTP."""

from fastapi import APIRouter
from sqlmodel import col, select

from fleet_server.distribution.models import Push
from fleet_server.services import ServicesDep

router = APIRouter(tags=["distribution"])


@router.get("/pushes")
def pushes(services: ServicesDep, bundle: str | None = None) -> list[Push]:
    """Broadcasts with their bytes and times, the latest first."""
    query = select(Push).order_by(col(Push.id).desc()).limit(200)
    with services.database.read() as session:
        return list(session.exec(query.where(Push.bundle == bundle) if bundle else query))
