"""What starts runs: a person, new labels of a line, a schedule. (Incidents have their playbook.)

Whatever rule asks, asks by `queue_run`: a burst of causes is one run.
"""

from dataclasses import dataclass

from sqlmodel import Session

from fleet_contract.errors import LoupeError
from fleet_server.labels import service as labels
from fleet_server.registry.models import Line
from fleet_server.registry.rules import Policy
from fleet_server.registry.service import find_line, list_lines, policy_of, set_dataset
from fleet_server.runs.causes import Kind
from fleet_server.runs.models import LineTrigger, TrainingRun
from fleet_server.runs.schedule import parse_schedule
from fleet_server.runs.service import queue_run
from fleet_server.store import Store

_ACTOR = "rule:triggers"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a line trains from, and what will start its next run by itself."""

    line: str
    dataset: str | None
    champion: str | None
    ready: bool
    """Whether it has a dataset and a training configuration."""
    new_labels: int
    after_labels: int | None
    schedule: str
    next_at: float | None
    """When the schedule is due, in seconds since 1970."""
    note: str
    """Why the last attempt came to nothing."""


def start(
    session: Session,
    store: Store,
    now: float,
    by: str,
    line: str,
    *,
    kind: Kind,
    take_labels: bool = False,
) -> TrainingRun:
    """A person asks for a run; with `take_labels` on a version with all new labels, if there are any.

    Raises StateError where the line cannot be trained, DataError where a label does not fit.
    """
    row = find_line(session, line)
    taken = _take_labels(session, store, now, by, row, 1) if take_labels and _ready(row) else 0
    return queue_run(session, now, by, line, kind=kind, text=_new(taken) if taken else "")


def tick(session: Session, store: Store, now: float) -> list[TrainingRun]:
    """Starts what is due, by every line's policy; stopped at any instant, the next tick goes on."""
    started = []
    for line in list_lines(session):
        policy = policy_of(line)
        if not policy.train_schedule and policy.train_after_labels is None:
            continue
        state = _state(session, now, line, policy)
        due = _due(state, now)
        session.add(state)
        try:
            with session.begin_nested():
                run = _look(session, store, now, line, policy, due=due)
        except LoupeError as error:
            # Something that a person has to mend (a missing dataset, a label): said, not lost.
            run, state.note = None, str(error)[:500]
        if run is not None:
            started.append(run)
            state.note = ""
    session.flush()
    return started


def outlook(session: Session, line: Line, now: float) -> Outlook:
    """What the line's next run depends on."""
    policy, state = policy_of(line), session.get(LineTrigger, line.name)
    next_at = None
    if policy.train_schedule:
        known = state is not None and state.schedule == policy.train_schedule
        since = state.since if state is not None and known else now
        next_at = parse_schedule(policy.train_schedule).after(since)
    return Outlook(
        line=line.name,
        dataset=line.dataset,
        champion=line.champion,
        ready=_ready(line),
        new_labels=len(labels.new_labels(session, line.name)),
        after_labels=policy.train_after_labels,
        schedule=policy.train_schedule,
        next_at=next_at,
        note=state.note if state else "",
    )


def _ready(line: Line) -> bool:
    return bool(line.dataset and line.training_config)


def _state(session: Session, now: float, line: Line, policy: Policy) -> LineTrigger:
    state = session.get(LineTrigger, line.name) or LineTrigger(line=line.name, since=now)
    # A clock that was set back must not silence the schedule until it has caught up.
    if state.schedule != policy.train_schedule or state.since > now:
        state.schedule, state.since = policy.train_schedule, now
    return state


def _due(state: LineTrigger, now: float) -> bool:
    """Whether the schedule asks for a run; times that were missed are one."""
    if not state.schedule or parse_schedule(state.schedule).after(state.since) > now:
        return False
    # Before the attempt and outside its savepoint: one that fails waits for the next time.
    state.since = now
    return True


def _look(
    session: Session, store: Store, now: float, line: Line, policy: Policy, *, due: bool
) -> TrainingRun | None:
    if due:
        if _ready(line):
            _take_labels(session, store, now, _ACTOR, line, 1)
        text = policy.train_schedule
        return queue_run(session, now, _ACTOR, line.name, kind="schedule", text=text)
    if policy.train_after_labels is not None and _ready(line):
        taken = _take_labels(session, store, now, _ACTOR, line, policy.train_after_labels)
        if taken:
            return queue_run(session, now, _ACTOR, line.name, kind="labels", text=_new(taken))
    return None


def _take_labels(
    session: Session, store: Store, now: float, actor: str, line: Line, at_least: int
) -> int:
    """Makes the line's next dataset version of its new labels; returns how many, 0 below `at_least`."""
    samples = labels.new_labels(session, line.name)
    if len(samples) < at_least or not line.dataset:
        return 0
    base = labels.load_dataset(session, store, line.dataset)
    known = {item.sha256 for item in base.items}
    labels.mark_used(session, line.name, line.dataset, known)
    fresh = [sample for sample in samples if sample.blob not in known]
    if len(fresh) < at_least:
        return 0
    share = policy_of(line).holdout_share
    version = base.extend([labels.item_of(sample, share) for sample in fresh], _new(len(fresh)))
    row = labels.add_dataset(session, store, now, actor, version)
    set_dataset(session, now, actor, line.name, row.digest)
    return len(fresh)


def _new(count: int) -> str:
    return f"{count} new label{'' if count == 1 else 's'}"
