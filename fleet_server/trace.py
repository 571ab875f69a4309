"""Where a part's verdict came from: bundle, evaluation, dataset, approvals, and the gates it passed."""

import re
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from sqlmodel import Session, col, select

from fleet_contract.errors import ConfigError
from fleet_contract.messages import PartVerdict
from fleet_server.errors import NotFoundError
from fleet_server.releases.api import ReleaseOut
from fleet_server.releases.models import Release
from fleet_server.rollouts.models import GateDecision, Rollout
from fleet_server.rollouts.plan import parse_plan
from fleet_server.services import ServicesDep
from fleet_server.telemetry.models import PartsRow

router = APIRouter(tags=["trace"])

_PART = re.compile(r"(?P<device>[^:]+):(?P<spool>[^:]+):(?P<number>\d{1,18})")


class Passed(BaseModel):
    """A gate that let the bundle go on before the part was judged."""

    rollout: int
    stage: str
    at: float
    text: str
    numbers: dict[str, Any]


class Trace(BaseModel):
    """All that is known of how one part came to its verdict."""

    device: str
    line: str
    camera: str
    received_at: float
    verdict: PartVerdict
    release: ReleaseOut | None
    """Of the bundle that judged: evaluation, lineage (dataset, code, configuration), signatures; None
    where no bundle judged, or the server never had it."""
    passed: list[Passed]
    """In their order; before the part by the device's clock."""


@router.get("/trace/{part}")
def trace(services: ServicesDep, part: str) -> Trace:
    """The part `device:spool:number`."""
    named = _PART.fullmatch(part)
    if named is None:
        raise ConfigError("that names no part", expected="device:spool:number", found=part)
    with services.database.read() as session:
        row, verdict = _find(session, named["device"], named["spool"], int(named["number"]))
        digest = verdict.digest
        release = session.get(Release, digest) if digest else None
        return Trace(
            device=row.device,
            line=row.line,
            camera=row.camera,
            received_at=row.received_at,
            verdict=verdict,
            release=ReleaseOut.of(release) if release else None,
            passed=_passed(session, digest, verdict.time_s) if digest else [],
        )


def _find(session: Session, device: str, spool: str, number: int) -> tuple[PartsRow, PartVerdict]:
    query = select(PartsRow).where(
        PartsRow.device == device,
        PartsRow.spool_id == spool,
        col(PartsRow.first_part) <= number,
        col(PartsRow.last_part) >= number,
    )
    for row in session.exec(query):
        for verdict in row.body:
            if verdict["number"] == number:
                return row, PartVerdict.model_validate(verdict)
    raise NotFoundError(f"no verdict is stored of part {device}:{spool}:{number}")


def _passed(session: Session, digest: str, before_s: float) -> list[Passed]:
    query = (
        select(GateDecision, Rollout)
        .join(Rollout, col(Rollout.id) == col(GateDecision.rollout))
        .where(
            Rollout.digest == digest,
            GateDecision.decision == "promote",
            col(GateDecision.at) <= before_s,
        )
        .order_by(col(GateDecision.id))
    )
    return [
        Passed(
            rollout=made.rollout,
            stage=parse_plan(rollout.plan).stages[made.stage].title,
            at=made.at,
            text=made.text,
            numbers=made.numbers,
        )
        for made, rollout in session.exec(query)
    ]
