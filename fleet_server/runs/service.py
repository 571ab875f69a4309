"""The queue of training runs: leased, kept alive by heartbeats, tried again when a worker is lost."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from fleet_contract.errors import StateError
from fleet_server.audit.service import record
from fleet_server.config import RunsConfig
from fleet_server.errors import LostLeaseError, NotFoundError
from fleet_server.registry.service import find_line
from fleet_server.runs.models import RunLog, TrainingRun

DONE = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a worker says that a run ended."""

    succeeded: bool
    bundle: str | None
    comparison: Mapping[str, Any]
    metrics: Mapping[str, Any]
    error: str


def queue_run(
    session: Session, now: float, actor: str, line: str, *, incident: int | None = None
) -> TrainingRun:
    """Queues a run; dataset, champion and configuration are frozen as they are now.

    Raises StateError where the line has no dataset or no training configuration.
    """
    row = find_line(session, line)
    if not row.dataset or not row.training_config:
        missing = "dataset" if not row.dataset else "training configuration"
        raise StateError(
            f"line {line} has no {missing}",
            remedy="`loupe dataset push` and `loupe line add` give it one.",
        )
    run = TrainingRun(
        id=uuid.uuid4().hex[:12],
        line=line,
        dataset=row.dataset,
        champion=row.champion,
        incident=incident,
        config=row.training_config,
        epoch=row.epoch,
        requested_by=actor,
        created_at=now,
    )
    session.add(run)
    data = {"line": line, "dataset": run.dataset, "incident": incident}
    record(session, now, actor, "run.queue", run.id, data)
    session.flush()
    return run


def find_run(session: Session, run_id: str) -> TrainingRun:
    """Raises NotFoundError where it is not there."""
    run = session.get(TrainingRun, run_id)
    if run is None:
        raise NotFoundError(f"no training run is called {run_id[:80]!r}")
    return run


def list_runs(session: Session, line: str | None = None, limit: int = 100) -> list[TrainingRun]:
    """The latest first."""
    query = select(TrainingRun).order_by(col(TrainingRun.created_at).desc()).limit(limit)
    return list(session.exec(query.where(TrainingRun.line == line) if line else query))


def expire(session: Session, now: float, config: RunsConfig) -> list[TrainingRun]:
    """Takes back the leases of workers that were not heard of: tried again, or failed."""
    late = session.exec(
        select(TrainingRun)
        .where(TrainingRun.state == "leased")
        .where(col(TrainingRun.lease_until) < now)
    ).all()
    for run in late:
        lost, run.worker, run.lease_until = run.worker, None, None
        if run.cancel_requested:
            _end(session, run, now, "cancelled")
        elif run.attempts >= config.attempts:
            run.error = f"its worker was lost {run.attempts} times"
            _end(session, run, now, "failed")
        else:
            run.state = "queued"
        session.add(run)
        _log(session, run.id, now, f"worker {lost} was not heard of; now {run.state}")
        record(session, now, "rule:runs", "run.lease_lost", run.id, {"worker": lost})
    session.flush()
    return list(late)


def lease(session: Session, now: float, config: RunsConfig, worker: str) -> TrainingRun | None:
    """The oldest queued run, for `worker` alone until its lease ends; None where none waits."""
    expire(session, now, config)
    run = session.exec(
        select(TrainingRun)
        .where(TrainingRun.state == "queued")
        .order_by(col(TrainingRun.created_at))
        .limit(1)
    ).first()
    if run is None:
        return None
    run.state, run.worker, run.lease_until = "leased", worker, now + config.lease
    run.attempts += 1
    run.started_at, run.progress, run.message = now, 0.0, ""
    session.add(run)
    data = {"attempt": run.attempts}
    record(session, now, f"worker:{worker}", "run.lease", run.id, data)
    session.flush()
    return run


def _held(session: Session, run_id: str, worker: str) -> TrainingRun:
    run = find_run(session, run_id)
    if run.state != "leased" or run.worker != worker:
        raise LostLeaseError(
            f"run {run_id} is not leased to {worker}",
            found=f"{run.state}, worker {run.worker or 'none'}",
            remedy="Drop it and ask for another.",
        )
    return run


def heartbeat(
    session: Session,
    now: float,
    config: RunsConfig,
    run_id: str,
    worker: str,
    *,
    progress: float,
    message: str,
    log: list[str],
) -> bool:
    """Renews the lease; True where the worker is to stop. Raises LostLeaseError."""
    run = _held(session, run_id, worker)
    run.lease_until = now + config.lease
    run.progress, run.message = progress, message
    session.add(run)
    for text in log:
        _log(session, run_id, now, text)
    session.flush()
    return run.cancel_requested


def finish(session: Session, now: float, run_id: str, worker: str, outcome: Outcome) -> TrainingRun:
    """The worker's last word. Raises LostLeaseError."""
    run = _held(session, run_id, worker)
    run.bundle, run.error = outcome.bundle, outcome.error[:4000]
    run.comparison, run.metrics = dict(outcome.comparison), dict(outcome.metrics)
    run.progress = 1.0 if outcome.succeeded else run.progress
    cancelled = run.cancel_requested and not outcome.succeeded
    ended = "succeeded" if outcome.succeeded else "failed"
    _end(session, run, now, "cancelled" if cancelled else ended)
    data = {"state": run.state, "bundle": run.bundle, "error": run.error[:500]}
    record(session, now, f"worker:{worker}", "run.finish", run.id, data)
    session.flush()
    return run


def cancel(session: Session, now: float, by: str, run_id: str) -> TrainingRun:
    """Ends a waiting run at once, a leased one at its worker's next heartbeat."""
    run = find_run(session, run_id)
    if run.state in DONE:
        raise StateError(f"run {run_id} is {run.state} already")
    run.cancel_requested = True
    if run.state == "queued":
        _end(session, run, now, "cancelled")
    session.add(run)
    record(session, now, by, "run.cancel", run.id)
    session.flush()
    return run


def retry(session: Session, now: float, by: str, run_id: str) -> TrainingRun:
    """Queues a failed or cancelled run again, on the same frozen inputs."""
    run = find_run(session, run_id)
    if run.state not in ("failed", "cancelled"):
        raise StateError(f"run {run_id} is {run.state}", expected="a failed or cancelled one")
    run.state, run.attempts, run.error, run.finished_at = "queued", 0, "", None
    run.cancel_requested, run.progress, run.message, run.worker = False, 0.0, "", None
    session.add(run)
    record(session, now, by, "run.retry", run.id)
    session.flush()
    return run


def logs(session: Session, run_id: str, after: int = 0, limit: int = 1000) -> list[RunLog]:
    """Lines in their order, from the one after `after` on."""
    query = select(RunLog).where(RunLog.run == run_id, col(RunLog.id) > after)
    return list(session.exec(query.order_by(col(RunLog.id)).limit(limit)))


def _end(session: Session, run: TrainingRun, now: float, state: str) -> None:
    run.state, run.finished_at, run.lease_until = state, now, None
    session.add(run)


def _log(session: Session, run_id: str, now: float, text: str) -> None:
    session.add(RunLog(run=run_id, at=now, text=text[:2000]))
