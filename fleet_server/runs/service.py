"""The queue of training runs: leased, kept alive by heartbeats, gone on with when a worker is lost."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from fleet_contract.errors import StateError
from fleet_server.audit.service import record
from fleet_server.config import RunsConfig
from fleet_server.errors import LostLeaseError, NotFoundError
from fleet_server.registry.models import Line
from fleet_server.registry.service import find_line
from fleet_server.runs import causes
from fleet_server.runs.causes import Cause, Kind
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
    session: Session,
    now: float,
    actor: str,
    line: str,
    *,
    kind: Kind = "api",
    text: str = "",
    incident: int | None = None,
) -> TrainingRun:
    """A run of the line that waits, with this cause among its own: a burst of causes is one run.

    A run that was begun (and lost its worker, say) takes no further cause in: it trains from what it
    was begun with. Raises StateError where the line has no dataset or no training configuration.
    """
    row = find_line(session, line)
    if not row.dataset or not row.training_config:
        missing = "dataset" if not row.dataset else "training configuration"
        raise StateError(
            f"line {line} has no {missing}",
            remedy="`loupe dataset push` and `loupe line add` give it one.",
        )
    waiting = _waiting(session, line)
    run = waiting or _new(row, now, actor)
    cause = Cause(kind=kind, by=actor, text=text, incident=incident, at=now, last_at=now)
    run.causes = causes.joined(run.causes, cause)
    if run.incident is None:
        run.incident = incident
    session.add(run)
    data = {"line": line, "dataset": row.dataset, "incident": incident, "cause": kind}
    record(session, now, actor, "run.join" if waiting else "run.queue", run.id, data)
    session.flush()
    return run


def _waiting(session: Session, line: str) -> TrainingRun | None:
    query = select(TrainingRun).where(
        TrainingRun.line == line,
        TrainingRun.state == "queued",
        col(TrainingRun.started_at).is_(None),
    )
    return session.exec(query.limit(1)).first()


def _new(line: Line, now: float, actor: str) -> TrainingRun:
    run = TrainingRun(
        id=uuid.uuid4().hex[:12],
        line=line.name,
        dataset=line.dataset or "",
        config=line.training_config,
        epoch=line.epoch,
        requested_by=actor,
        created_at=now,
    )
    _freeze(run, line)
    return run


def _freeze(run: TrainingRun, line: Line) -> None:
    run.dataset, run.champion = line.dataset or run.dataset, line.champion
    run.config, run.epoch = line.training_config, line.epoch


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


def runs_on(session: Session, dataset: str) -> list[TrainingRun]:
    """Those that train from that version, the latest first."""
    query = select(TrainingRun).where(TrainingRun.dataset == dataset)
    return list(session.exec(query.order_by(col(TrainingRun.created_at).desc())))


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
    """The oldest queued run, for `worker` alone until its lease ends; None where none waits.

    A line is trained by one worker at a time, so that a run that follows another one sees what came
    of it. What a run trains from is frozen when it is first leased: the line as it is then.
    """
    expire(session, now, config)
    busy = select(TrainingRun.line).where(TrainingRun.state == "leased")
    run = session.exec(
        select(TrainingRun)
        .where(TrainingRun.state == "queued", col(TrainingRun.line).not_in(busy))
        .order_by(col(TrainingRun.created_at))
        .limit(1)
    ).first()
    if run is None:
        return None
    line = session.get(Line, run.line)
    if run.started_at is None and line is not None:
        _freeze(run, line)
    run.state, run.worker, run.lease_until = "leased", worker, now + config.lease
    run.attempts += 1
    run.started_at, run.progress, run.message = now, 0.0, ""
    session.add(run)
    if run.checkpoint:
        _log(session, run.id, now, f"worker {worker} goes on from the last checkpoint")
    data = {"attempt": run.attempts, "dataset": run.dataset, "checkpoint": run.checkpoint}
    record(session, now, f"worker:{worker}", "run.lease", run.id, data)
    session.flush()
    return run


def held(session: Session, run_id: str, worker: str) -> TrainingRun:
    """The run, where `worker` has its lease; raises LostLeaseError where it has not."""
    run = find_run(session, run_id)
    if run.state != "leased" or run.worker != worker:
        raise LostLeaseError(
            f"run {run_id} is not leased to {worker}",
            found=f"{run.state}, worker {run.worker or 'none'}",
            remedy="Drop it and ask for another.",
        )
    return run


def keep_checkpoint(
    session: Session, now: float, run_id: str, worker: str, digest: str, length: int
) -> None:
    """Notes where the training stands; the blob is in its store. Raises LostLeaseError."""
    run = held(session, run_id, worker)
    run.checkpoint, run.checkpoint_bytes, run.checkpoint_at = digest, length, now
    session.add(run)
    session.flush()


def give_back(session: Session, now: float, run_id: str, worker: str) -> TrainingRun:
    """The worker ends before its run does: the run waits for another one. Raises LostLeaseError."""
    run = held(session, run_id, worker)
    run.worker, run.lease_until = None, None
    run.attempts -= 1
    if run.cancel_requested:
        _end(session, run, now, "cancelled")
    else:
        run.state = "queued"
    session.add(run)
    _log(session, run_id, now, f"worker {worker} ended and gave it back; now {run.state}")
    record(session, now, f"worker:{worker}", "run.give_back", run_id)
    session.flush()
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
    run = held(session, run_id, worker)
    run.lease_until = now + config.lease
    run.progress, run.message = progress, message
    session.add(run)
    for text in log:
        _log(session, run_id, now, text)
    session.flush()
    return run.cancel_requested


def finish(session: Session, now: float, run_id: str, worker: str, outcome: Outcome) -> TrainingRun:
    """The worker's last word. Raises LostLeaseError."""
    run = held(session, run_id, worker)
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
    """Queues a failed or cancelled run again, from the start, on the same frozen inputs."""
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
    run.checkpoint, run.checkpoint_bytes, run.checkpoint_at = None, 0, None
    session.add(run)


def _log(session: Session, run_id: str, now: float, text: str) -> None:
    session.add(RunLog(run=run_id, at=now, text=text[:2000]))
