"""Training runs over HTTP: for people, and for workers."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from fleet_server.registry.api import Act
from fleet_server.runs import service
from fleet_server.runs.models import RunLog, TrainingRun
from fleet_server.services import Services, ServicesDep

router = APIRouter(tags=["runs"], prefix="/runs")


class QueueBody(Act):
    """A person asks for a run."""

    line: str


class Worker(BaseModel):
    """A trainer worker by its name."""

    worker: str = Field(min_length=1, max_length=100)


class Lease(BaseModel):
    """What a worker trains, and for how long the run is its own without a heartbeat."""

    id: str
    line: str
    dataset: str
    champion: str | None
    incident: int | None
    config: str
    epoch: int
    lease_s: float


class Beat(Worker):
    """A worker is alive."""

    progress: float = Field(default=0.0, ge=0, le=1)
    message: str = Field(default="", max_length=500)
    log: list[str] = Field(default_factory=list, max_length=1000)


class BeatAnswer(BaseModel):
    """Whether the worker is to stop."""

    cancelled: bool


class Finish(Worker):
    """How a run ended."""

    outcome: Literal["succeeded", "failed"]
    bundle: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    comparison: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    error: str | None = None


def _told(services: Services, run: TrainingRun) -> TrainingRun:
    services.bus.publish("runs", {"run": run.id, "state": run.state})
    return run


@router.get("")
def runs(services: ServicesDep, line: str | None = None, limit: int = 100) -> list[TrainingRun]:
    """Runs, the latest first."""
    with services.database.read() as session:
        return service.list_runs(session, line, limit)


@router.post("", status_code=201)
def queue(services: ServicesDep, body: QueueBody) -> TrainingRun:
    """Queues a run on the line's dataset, as it is now."""
    with services.database.write() as session:
        run = service.queue_run(session, services.clock.time(), body.by, body.line)
    return _told(services, run)


@router.post("/lease", response_model=Lease, responses={204: {"description": "None waits."}})
def lease(services: ServicesDep, body: Worker) -> Lease | Response:
    """The oldest waiting run, for this worker."""
    config = services.config.runs
    with services.database.write() as session:
        run = service.lease(session, services.clock.time(), config, body.worker)
    if run is None:
        return Response(status_code=204)
    _told(services, run)
    return Lease(**run.model_dump(include=set(Lease.model_fields)), lease_s=config.lease)


@router.get("/{run_id}")
def run(services: ServicesDep, run_id: str) -> TrainingRun:
    """One run."""
    with services.database.read() as session:
        return service.find_run(session, run_id)


@router.get("/{run_id}/logs")
def logs(services: ServicesDep, run_id: str, after: int = 0) -> list[RunLog]:
    """Up to 1000 lines of its log, from the one after `after` on."""
    with services.database.read() as session:
        service.find_run(session, run_id)
        return service.logs(session, run_id, after)


@router.post("/{run_id}/heartbeat")
def heartbeat(services: ServicesDep, run_id: str, body: Beat) -> BeatAnswer:
    """Renews the lease; 409 where it is lost."""
    with services.database.write() as session:
        cancelled = service.heartbeat(
            session,
            services.clock.time(),
            services.config.runs,
            run_id,
            body.worker,
            progress=body.progress,
            message=body.message,
            log=body.log,
        )
    services.bus.publish("runs", {"run": run_id, "progress": body.progress})
    return BeatAnswer(cancelled=cancelled)


@router.post("/{run_id}/finish")
def finish(services: ServicesDep, run_id: str, body: Finish) -> TrainingRun:
    """The worker's last word; 409 where the lease is lost."""
    outcome = service.Outcome(
        succeeded=body.outcome == "succeeded",
        bundle=body.bundle,
        comparison=body.comparison or {},
        metrics=body.metrics or {},
        error=body.error or "",
    )
    with services.database.write() as session:
        run = service.finish(session, services.clock.time(), run_id, body.worker, outcome)
    return _told(services, run)


@router.post("/{run_id}/cancel")
def cancel(services: ServicesDep, run_id: str, body: Act) -> TrainingRun:
    """Ends a run; its worker stops at its next heartbeat."""
    with services.database.write() as session:
        return _told(services, service.cancel(session, services.clock.time(), body.by, run_id))


@router.post("/{run_id}/retry")
def retry(services: ServicesDep, run_id: str, body: Act) -> TrainingRun:
    """Queues a failed or cancelled run again."""
    with services.database.write() as session:
        return _told(services, service.retry(session, services.clock.time(), body.by, run_id))
