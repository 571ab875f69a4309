"""Training runs over HTTP: for people, and for workers."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from fleet_server.errors import NotFoundError
from fleet_server.registry.api import Act
from fleet_server.registry.service import list_lines
from fleet_server.runs import causes, checkpoints, service, triggers
from fleet_server.runs.causes import Cause
from fleet_server.runs.models import RunLog, TrainingRun
from fleet_server.runs.result import sentence
from fleet_server.services import Services, ServicesDep

router = APIRouter(tags=["runs"], prefix="/runs")


class QueueBody(Act):
    """A person asks for a run."""

    line: str
    via: Literal["api", "command line"] = "api"
    take_labels: bool = False
    """Whether new labels of the line first become a dataset version."""


class RunView(BaseModel):
    """A run as the API shows it."""

    id: str
    line: str
    state: Literal["queued", "leased", "succeeded", "failed", "cancelled"]
    dataset: str
    champion: str | None
    incident: int | None
    config: str
    epoch: int
    requested_by: str
    causes: list[Cause]
    created_at: float
    attempts: int
    worker: str | None
    lease_until: float | None
    cancel_requested: bool
    progress: float
    message: str
    started_at: float | None
    finished_at: float | None
    bundle: str | None
    comparison: dict[str, Any]
    metrics: dict[str, Any]
    error: str
    checkpoint: str | None
    checkpoint_bytes: int
    checkpoint_at: float | None
    result: str
    """Better than the champion or not, by how much and on which holdout; empty until it is known."""


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
    checkpoint: str | None
    """Digest of what an earlier worker left of this run; to be gone on from."""
    checkpoint_limit: int
    """Bytes of the largest one that is taken."""
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


def view(run: TrainingRun) -> RunView:
    """The run with its result in a sentence."""
    return RunView.model_validate({**run.model_dump(), "result": sentence(run)})


def _told(services: Services, run: TrainingRun) -> RunView:
    services.bus.publish("runs", {"run": run.id, "state": run.state})
    return view(run)


@router.get("")
def runs(services: ServicesDep, line: str | None = None, limit: int = 100) -> list[RunView]:
    """Runs, the latest first."""
    with services.database.read() as session:
        return [view(run) for run in service.list_runs(session, line, limit)]


@router.post("", status_code=201, responses={200: {"description": "One waits; it took this in."}})
def queue(services: ServicesDep, body: QueueBody, response: Response) -> RunView:
    """Queues a run of the line; one that waits already takes this cause in.

    It trains from the line's dataset and configuration as they are when a worker first leases it.
    """
    with services.database.write() as session:
        run = triggers.start(
            session,
            services.store,
            services.clock.time(),
            body.by,
            body.line,
            kind=body.via,
            take_labels=body.take_labels,
        )
    if causes.came(run.causes) > 1:
        response.status_code = 200
    return _told(services, run)


@router.get("/outlook")
def outlook(services: ServicesDep) -> list[triggers.Outlook]:
    """What each line trains from, and what will start its next run by itself."""
    with services.database.read() as session:
        now = services.clock.time()
        return [triggers.outlook(session, line, now) for line in list_lines(session)]


@router.post("/lease", response_model=Lease, responses={204: {"description": "None waits."}})
def lease(services: ServicesDep, body: Worker) -> Lease | Response:
    """The oldest waiting run, for this worker."""
    config = services.config.runs
    with services.database.write() as session:
        run = service.lease(session, services.clock.time(), config, body.worker)
    if run is None:
        return Response(status_code=204)
    _told(services, run)
    return Lease(
        **run.model_dump(include=set(Lease.model_fields)),
        checkpoint_limit=services.config.limits.checkpoint,
        lease_s=config.lease,
    )


@router.get("/{run_id}")
def run(services: ServicesDep, run_id: str) -> RunView:
    """One run."""
    with services.database.read() as session:
        return view(service.find_run(session, run_id))


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


@router.put("/{run_id}/checkpoint", status_code=204)
async def put_checkpoint(
    services: ServicesDep, run_id: str, worker: str, request: Request
) -> Response:
    """Keeps the raw body as where the training stands, in place of an earlier one.

    Only from who has the lease: 409 where it is lost, 413 above `limits.checkpoint`.
    """
    await run_in_threadpool(_held, services, run_id, worker)
    limit = services.config.limits.checkpoint
    with checkpoints.room(services.store).writer(limit=limit) as writer:
        length = 0
        async for chunk in request.stream():
            writer.write(chunk)
            length += len(chunk)
        digest = await run_in_threadpool(writer.finish)
    await run_in_threadpool(_keep, services, run_id, worker, digest, length)
    return Response(status_code=204)


def _keep(services: Services, run_id: str, worker: str, digest: str, length: int) -> None:
    with services.database.write() as session:
        now = services.clock.time()
        service.keep_checkpoint(session, now, run_id, worker, digest, length)
    services.bus.publish("runs", {"run": run_id, "checkpoint": digest})


def _held(services: Services, run_id: str, worker: str) -> TrainingRun:
    with services.database.read() as session:
        return service.held(session, run_id, worker)


@router.get("/{run_id}/checkpoint", response_class=FileResponse)
def checkpoint(services: ServicesDep, run_id: str, worker: str) -> FileResponse:
    """The bytes that an earlier worker left, for who has the lease now; 404 where there are none."""
    digest = _held(services, run_id, worker).checkpoint
    if digest is None:
        raise NotFoundError(f"run {run_id} has no checkpoint")
    path = checkpoints.room(services.store).path(digest)
    return FileResponse(path, media_type="application/octet-stream")


@router.post("/{run_id}/give-back")
def give_back(services: ServicesDep, run_id: str, body: Worker) -> RunView:
    """The worker ends, the run does not: it waits for another worker; 409 where the lease is lost."""
    with services.database.write() as session:
        run = service.give_back(session, services.clock.time(), run_id, body.worker)
    return _told(services, run)


@router.post("/{run_id}/finish")
def finish(services: ServicesDep, run_id: str, body: Finish) -> RunView:
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
def cancel(services: ServicesDep, run_id: str, body: Act) -> RunView:
    """Ends a run; its worker stops at its next heartbeat."""
    with services.database.write() as session:
        run = service.cancel(session, services.clock.time(), body.by, run_id)
    return _told(services, run)


@router.post("/{run_id}/retry")
def retry(services: ServicesDep, run_id: str, body: Act) -> RunView:
    """Queues a failed or cancelled run again, from its start, on the same inputs."""
    with services.database.write() as session:
        run = service.retry(session, services.clock.time(), body.by, run_id)
    return _told(services, run)
