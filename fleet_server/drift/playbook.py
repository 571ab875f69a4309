"""What follows an incident: samples, labels, a dataset version, a training run.

    open -> sampling -> labelling -> training -> trained -> closed

Steps are taken by `tick`, from what is stored alone: stopped at any instant, the next tick goes on.
"""

import uuid
from dataclasses import dataclass

from sqlmodel import Session, col, select

from fleet_contract.errors import LoupeError, StateError
from fleet_contract.messages import Command
from fleet_server.audit.service import record
from fleet_server.config import DriftConfig
from fleet_server.db.engine import after_commit
from fleet_server.drift import baselines
from fleet_server.drift.models import Incident
from fleet_server.drift.service import open_incidents
from fleet_server.errors import NotFoundError
from fleet_server.labels import service as labels
from fleet_server.link.publisher import Publisher, send_command
from fleet_server.registry.models import Device, Line
from fleet_server.registry.rules import Policy
from fleet_server.registry.service import find_device, policy_of, set_dataset
from fleet_server.runs.models import TrainingRun
from fleet_server.runs.service import queue_run
from fleet_server.store import Store

_ACTOR = "rule:playbook"


@dataclass(frozen=True, slots=True)
class Playbook:
    """What the steps need beside the database."""

    config: DriftConfig
    publisher: Publisher
    store: Store

    def tick(self, session: Session, now: float) -> list[int]:
        """One step for every incident that can take one; returns the ids of those that changed."""
        changed = []
        for incident in open_incidents(session):
            before = (incident.state, incident.note)
            line = session.get(Line, incident.line)
            if line is None:
                incident.note = f"line {incident.line} is not configured"
            elif incident.cause in policy_of(line).retrain_on:
                self._step(session, now, incident, line, policy_of(line))
            session.add(incident)
            if incident.id is not None and before != (incident.state, incident.note):
                changed.append(incident.id)
        session.flush()
        return changed

    def _step(
        self, session: Session, now: float, incident: Incident, line: Line, policy: Policy
    ) -> None:
        total, labelled = labels.count_labelled(session, incident.id or 0)
        if incident.state == "open":
            self._ask(session, now, incident, policy.samples)
            _move(session, now, incident, "sampling", {"samples": policy.samples})
        elif incident.state == "sampling" and total >= policy.samples:
            _move(session, now, incident, "labelling", {"samples": total})
        elif incident.state == "sampling" and labelled < policy.min_labelled:
            self._ask_again(session, now, incident, policy.samples - total)
        elif incident.state in ("sampling", "labelling"):
            self._labelled(session, now, incident, line, policy, labelled)
        elif incident.state == "training":
            _follow(session, now, incident)

    def _ask(self, session: Session, now: float, incident: Incident, count: int) -> None:
        command = Command(
            id=f"incident-{incident.id}-{uuid.uuid4().hex[:8]}",
            op="sample",
            line=incident.line,
            count=count,
        )
        device = incident.device
        incident.commanded_at = now
        incident.note = f"waiting for samples of {device}"
        data = {"count": count, "incident": incident.id}
        record(session, now, _ACTOR, "command.sample", device, data)
        after_commit(session, lambda: send_command(self.publisher, device, command))

    def _ask_again(self, session: Session, now: float, incident: Incident, count: int) -> None:
        newest = labels.newest_sample(session, incident.id or 0)
        heard = max(incident.commanded_at or 0.0, newest or 0.0)
        device = session.get(Device, incident.device)
        if device and device.online and now - heard >= self.config.command_repeat:
            self._ask(session, now, incident, count)

    def _labelled(
        self,
        session: Session,
        now: float,
        incident: Incident,
        line: Line,
        policy: Policy,
        labelled: int,
    ) -> None:
        if labelled < policy.min_labelled:
            incident.note = f"waiting for labels: {labelled} of {policy.min_labelled}"
            return
        try:
            with session.begin_nested():
                self._train(session, now, incident, line, policy)
        except LoupeError as error:
            # Something that a person has to mend (no dataset yet, no configuration): said, not lost.
            incident.note = str(error)[:500]

    def _train(
        self, session: Session, now: float, incident: Incident, line: Line, policy: Policy
    ) -> None:
        if not line.dataset:
            raise StateError(f"line {line.name} has no dataset to extend")
        base = labels.load_dataset(session, self.store, line.dataset)
        samples = labels.list_samples(session, state="labelled", incident=incident.id, limit=10_000)
        items = [labels.item_of(sample, policy.holdout_share) for sample in samples]
        version = base.extend(items, f"incident {incident.id}: {incident.cause}")
        row = labels.add_dataset(session, self.store, now, _ACTOR, version)
        set_dataset(session, now, _ACTOR, line.name, row.digest)
        text = f"incident {incident.id}, {incident.cause}: {len(items)} labels"
        run = queue_run(
            session, now, _ACTOR, line.name, kind="incident", text=text, incident=incident.id
        )
        incident.dataset, incident.run = row.digest, run.id
        incident.note = f"training run {run.id} is queued"
        _move(session, now, incident, "training", {"dataset": row.digest, "run": run.id})


def _follow(session: Session, now: float, incident: Incident) -> None:
    run = session.get(TrainingRun, incident.run)
    if run is None:
        return
    if run.state == "succeeded":
        _move(session, now, incident, "trained", {"bundle": run.bundle})
        incident.note = "a bundle was trained"
    elif run.state in ("failed", "cancelled"):
        incident.note = f"training run {run.id} {run.state}: {run.error or 'no reason given'}"[:500]
    else:
        incident.note = f"training run {run.id} is {run.state}"


def _move(
    session: Session, now: float, incident: Incident, state: str, data: dict[str, object]
) -> None:
    incident.state = state
    record(session, now, _ACTOR, f"incident.{state}", str(incident.id), data)


def incident_for_sample(session: Session, device: str, line: str, why: str) -> int | None:
    """The incident that a requested sample of `device` belongs to; None where nothing asked for it."""
    if why != "requested":
        return None
    waiting = [i for i in open_incidents(session, device, line) if i.state == "sampling"]
    return waiting[0].id if waiting else None


def find_incident(session: Session, incident_id: int) -> Incident:
    """Raises NotFoundError where it is not there."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        raise NotFoundError(f"there is no incident {incident_id}")
    return incident


def close(
    session: Session,
    now: float,
    by: str,
    incident_id: int,
    *,
    note: str = "",
    false_alarm: bool = False,
    rebaseline: bool = False,
) -> Incident:
    """A person closes an incident; a false alarm is counted against the device.

    What is carried from window to window starts at zero. With `rebaseline` the baseline retires, and the
    windows from now on make the next proposal.
    """
    incident = find_incident(session, incident_id)
    if incident.state == "closed":
        raise StateError(f"incident {incident_id} is closed already")
    incident.state, incident.closed_at, incident.closed_by = "closed", now, by
    incident.note, incident.false_alarm = note[:500] or incident.note, false_alarm
    session.add(incident)
    if false_alarm:
        device = find_device(session, incident.device)
        device.false_alarms += 1
        session.add(device)
    place = (incident.device, incident.line, incident.camera)
    if rebaseline:
        baselines.retire(session, now, by, *place)
    else:
        baselines.reset(session, *place)
    data = {"note": incident.note, "false_alarm": false_alarm, "rebaseline": rebaseline}
    record(session, now, by, "incident.closed", str(incident_id), data)
    session.flush()
    return incident


def list_incidents(
    session: Session, state: str | None = None, device: str | None = None
) -> list[Incident]:
    """The latest first; the state `open` stands for every one that is not closed."""
    query = select(Incident).order_by(col(Incident.id).desc())
    if state == "open":
        query = query.where(Incident.state != "closed")
    elif state:
        query = query.where(Incident.state == state)
    return list(session.exec(query.where(Incident.device == device) if device else query))
