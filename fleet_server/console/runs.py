"""Training runs: the list, and one with its log and its comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from fleet_server.console import words
from fleet_server.console.evaluation import Comparison, Evaluation, comparison, evaluation
from fleet_server.console.render import ACTOR, ConsoleRoute, go, page
from fleet_server.console.show import Badge, Fact, Tone, absolute, size, span
from fleet_server.runs import causes, service
from fleet_server.runs.causes import Cause
from fleet_server.runs.models import RunLog, TrainingRun
from fleet_server.runs.result import sentence
from fleet_server.services import ServicesDep

LOG_LINES = 20_000
LOG_SHOWN = 400

_KINDS: Mapping[causes.Kind, str] = {
    "api": "API", "command line": "command line", "console": "console", "incident": "incident",
    "labels": "new labels", "schedule": "schedule",
}  # fmt: skip
_TONES: Mapping[str, Tone] = {"better": "ok", "worse": "bad"}

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in a list."""

    id: str
    line: str
    state: Badge
    progress: float
    message: str
    dataset: str
    why: str
    bundle: str
    created_s: float


@dataclass(frozen=True, slots=True)
class RunsPage:
    """All runs, the newest first."""

    runs: list[RunRow]


@dataclass(frozen=True, slots=True)
class CauseView:
    """Why the run is there."""

    kind: Badge
    text: str
    by: str
    incident: str
    at_s: float
    again: str


@dataclass(frozen=True, slots=True)
class RunPage:
    """One run."""

    id: str
    state: Badge
    progress: float
    message: str
    error: str
    result: str
    result_tone: Tone
    causes: list[CauseView]
    facts: list[Fact]
    comparison: Comparison | None
    evaluation: Evaluation
    log: str
    log_empty: str
    can_cancel: bool
    can_retry: bool


def why(run: TrainingRun) -> str:
    """The kinds of its causes, each once."""
    kinds = dict.fromkeys(cause.kind for cause in causes.read(run.causes))
    return ", ".join(_KINDS[kind] for kind in kinds) or run.requested_by


def _cause(cause: Cause) -> CauseView:
    return CauseView(
        kind=Badge(_KINDS[cause.kind], "info"),
        text=cause.text,
        by=cause.by,
        incident="" if cause.incident is None else str(cause.incident),
        at_s=cause.at,
        again=f"{cause.times} times, last at {absolute(cause.last_at)}" if cause.times > 1 else "",
    )


def row(run: TrainingRun) -> RunRow:
    """The run as lists show it."""
    return RunRow(
        id=run.id,
        line=run.line,
        state=words.run(run.state, cancelling=run.cancel_requested),
        progress=run.progress,
        message=run.message,
        dataset=run.dataset,
        why=why(run),
        bundle=run.bundle or "",
        created_s=run.created_at,
    )


def build(run: TrainingRun, log: Sequence[RunLog]) -> RunPage:
    """The page of one run; `log` in order of time."""
    return RunPage(
        id=run.id,
        state=words.run(run.state, cancelling=run.cancel_requested),
        progress=run.progress,
        message=run.message,
        error=run.error,
        result=sentence(run),
        result_tone=_TONES.get(str(run.comparison.get("outcome")), "info"),
        causes=[_cause(cause) for cause in causes.read(run.causes)],
        facts=_facts(run),
        comparison=comparison(run.comparison),
        evaluation=evaluation(run.metrics),
        log="\n".join(line.text for line in log),
        log_empty=(
            "The worker's lines appear here while it trains."
            if run.state in ("queued", "leased")
            else "No line was logged."
        ),
        can_cancel=run.state in ("queued", "leased") and not run.cancel_requested,
        can_retry=run.state in ("failed", "cancelled"),
    )


def _facts(run: TrainingRun) -> list[Fact]:
    dataset = Fact("Dataset", run.dataset, f"/datasets/{run.dataset}", digest=True)
    facts = [Fact("Line", run.line), dataset]
    if run.champion:
        facts.append(Fact("Champion then", run.champion, f"/releases/{run.champion}", digest=True))
    if run.bundle:
        facts.append(Fact("Bundle", run.bundle, f"/releases/{run.bundle}", digest=True))
    facts.append(Fact("Queued", absolute(run.created_at)))
    if run.worker:
        facts.append(Fact("Worker", run.worker))
    facts.append(Fact("Attempts", str(run.attempts)))
    if run.checkpoint_at is not None:
        text = f"{size(run.checkpoint_bytes)}, {absolute(run.checkpoint_at)}"
        facts.append(Fact("Checkpoint", text))
    if run.started_at is not None and run.finished_at is not None:
        facts.append(Fact("Took", span(run.finished_at - run.started_at)))
    return facts


@router.get("/runs")
def runs(request: Request, services: ServicesDep) -> HTMLResponse:
    """All runs, the newest first."""
    with services.database.read() as session:
        view = RunsPage([row(run) for run in service.list_runs(session)])
    return page(request, "runs.html", now=services.clock.time(), page=view)


@router.get("/runs/{run_id}")
def run(request: Request, services: ServicesDep, run_id: str) -> HTMLResponse:
    """One run with the end of its log."""
    with services.database.read() as session:
        lines = service.logs(session, run_id, limit=LOG_LINES)
        view = build(service.find_run(session, run_id), lines[-LOG_SHOWN:])
    return page(request, "run.html", now=services.clock.time(), page=view)


@router.post("/runs/{run_id}/cancel")
def cancel(services: ServicesDep, run_id: str) -> RedirectResponse:
    """Asks the worker to stop, or takes the run from the queue."""
    with services.database.write() as session:
        service.cancel(session, services.clock.time(), ACTOR, run_id)
    services.bus.publish("runs", {"run": run_id})
    return go(f"/runs/{run_id}")


@router.post("/runs/{run_id}/retry")
def retry(services: ServicesDep, run_id: str) -> RedirectResponse:
    """Queues the run again."""
    with services.database.write() as session:
        service.retry(session, services.clock.time(), ACTOR, run_id)
    services.bus.publish("runs", {"run": run_id})
    return go(f"/runs/{run_id}")
