"""Rollouts in the database: made, moved through their stages, ended. Nothing here leaves the database.

What devices are assigned stands in `AssignmentRow`s, changed in the same transaction as the rollout;
the controller publishes the director's metadata from them.
"""

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, func, select

from fleet_contract.errors import StateError
from fleet_server.audit.service import record
from fleet_server.errors import NotFoundError
from fleet_server.registry.models import Device, Line
from fleet_server.registry.service import find_line, list_devices, set_champion
from fleet_server.releases.models import Release
from fleet_server.releases.rules import ReleaseState
from fleet_server.releases.service import check_approved, find_release
from fleet_server.rollouts.gates import Verdict
from fleet_server.rollouts.machine import LIVE, TERMINAL, RolloutEvent, RolloutState, step
from fleet_server.rollouts.models import AssignmentRow, GateDecision, Rollout, RolloutDevice
from fleet_server.rollouts.plan import FIRST, USUAL, Plan, Stage, choose, parse_plan

RULE = "rule:rollouts"
_SLOTS = {"shadow": "shadow", "canary": "canary", "all": "active"}


def start(
    session: Session,
    now: float,
    actor: str,
    digest: str,
    plan: object | None = None,
    *,
    wait: bool = False,
) -> Rollout:
    """Makes a rollout and begins its first stage; with `wait`, as soon as the release is approved.

    Raises TrustError for a release that is not approved (without `wait`), StateError where the line
    has another rollout under way, runs this bundle already, or has no device; ConfigError for a plan
    that does not fit.
    """
    release = find_release(session, digest)
    if not wait or release.state == ReleaseState.REFUSED:
        check_approved(release)
    line = find_line(session, release.line)
    _check_free(session, line, release)
    checked = _plan_for(line, plan)
    rollout = Rollout(
        line=line.name,
        digest=release.digest,
        champion=line.champion,
        plan=checked.model_dump(mode="json"),
        state=RolloutState.DRAFT,
        attempt=next_attempt(session, release.digest),
        created_at=now,
        created_by=actor,
    )
    session.add(rollout)
    session.flush()
    for stage in checked.stages:
        choose(stage, device_names(session, line.name), str(rollout.id))
    data = {"digest": release.digest, "champion": line.champion, "plan": rollout.plan}
    record(session, now, actor, "rollout.create", str(rollout.id), {"line": line.name, **data})
    if release.approved_at is None:
        move(session, now, actor, rollout, RolloutEvent.WAIT)
    else:
        begin(session, now, actor, rollout)
    return rollout


def _check_free(session: Session, line: Line, release: Release) -> None:
    if line.champion == release.digest:
        raise StateError(f"line {line.name} has this bundle as its champion already")
    going = session.exec(
        select(Rollout).where(
            Rollout.line == line.name,
            col(Rollout.state).not_in([str(state) for state in TERMINAL]),
        )
    ).first()
    if going:
        raise StateError(
            f"line {line.name} has rollout {going.id} under way ({going.state})",
            remedy=f"Wait for it, or `loupe rollout abort {going.id}`.",
        )
    if not device_names(session, line.name):
        raise StateError(
            f"line {line.name} has no device",
            remedy="Start an agent of the line; it tells the server which line it is on.",
        )


def _plan_for(line: Line, plan: object | None) -> Plan:
    if plan is None:
        return USUAL if line.champion else FIRST
    checked = parse_plan(plan)
    if not line.champion and any(stage.name == "canary" for stage in checked.stages):
        raise StateError(
            f"line {line.name} has no champion to compare with",
            expected="the stage `all`, and before it `shadow` where people or a system judge today",
            found=", ".join(stage.name for stage in checked.stages),
        )
    return checked


def device_names(session: Session, line: str) -> list[str]:
    """Devices of the line; those that two agents report under are left out."""
    return [d.name for d in list_devices(session, line) if d.clone_since is None]


def next_attempt(session: Session, digest: str) -> int:
    """One more than any attempt at this bundle: a device never takes a failed attempt again."""
    own = session.exec(select(func.max(Rollout.attempt)).where(Rollout.digest == digest)).one()
    reverted = session.exec(
        select(func.max(Rollout.revert_attempt)).where(Rollout.champion == digest)
    ).one()
    return max(own or 0, reverted or 0) + 1


def find_rollout(session: Session, rollout_id: int) -> Rollout:
    """Raises NotFoundError where it is not there."""
    rollout = session.get(Rollout, rollout_id)
    if rollout is None:
        raise NotFoundError(f"no rollout has the number {rollout_id}")
    return rollout


def list_rollouts(session: Session, line: str | None = None, limit: int = 100) -> list[Rollout]:
    """The latest first."""
    query = select(Rollout).order_by(col(Rollout.id).desc()).limit(limit)
    return list(session.exec(query.where(Rollout.line == line) if line else query))


def in_states(session: Session, states: Sequence[RolloutState]) -> list[Rollout]:
    """Rollouts in one of `states`, the oldest first."""
    wanted = col(Rollout.state).in_([str(state) for state in states])
    return list(session.exec(select(Rollout).where(wanted).order_by(col(Rollout.id))))


def rollout_devices(session: Session, rollout_id: int) -> list[RolloutDevice]:
    """The rollout's devices, by name."""
    query = select(RolloutDevice).where(RolloutDevice.rollout == rollout_id)
    return list(session.exec(query.order_by(col(RolloutDevice.device))))


def decisions(session: Session, rollout_id: int, limit: int = 200) -> list[GateDecision]:
    """The latest first."""
    query = select(GateDecision).where(GateDecision.rollout == rollout_id)
    return list(session.exec(query.order_by(col(GateDecision.id).desc()).limit(limit)))


def stage_of(rollout: Rollout) -> Stage:
    """The stage that the rollout is in."""
    return parse_plan(rollout.plan).stages[rollout.stage]


def share_of(rollout: Rollout, row: RolloutDevice) -> float | None:
    """Share of its parts that the bundle judges on the device; None: all, or in shadow none."""
    share = parse_plan(rollout.plan).stages[row.stage].share
    return share if share < 1 else None


def move(
    session: Session,
    now: float,
    actor: str,
    rollout: Rollout,
    event: RolloutEvent,
    reason: str = "",
    data: dict[str, Any] | None = None,
) -> None:
    """One step of the state table, audited. Raises StateError where it is not allowed."""
    before = rollout.state
    rollout.state, rollout.reason = step(rollout.state, event), reason
    if rollout.state in TERMINAL:
        rollout.ended_at = now
    session.add(rollout)
    told = {"from": before, "to": rollout.state, "reason": reason, **(data or {})}
    record(session, now, actor, f"rollout.{event}", str(rollout.id), told)


def begin(session: Session, now: float, actor: str, rollout: Rollout) -> None:
    """Lets the rollout run, from its first stage."""
    move(session, now, actor, rollout, RolloutEvent.START)
    _enter(session, now, rollout, 0)


def _enter(session: Session, now: float, rollout: Rollout, index: int) -> None:
    """Begins stage `index`: its devices are assigned the bundle in the stage's slot."""
    rollout.stage, rollout.stage_started_at = index, now
    session.add(rollout)
    stage, release = stage_of(rollout), find_release(session, rollout.digest)
    slot = _SLOTS[stage.name]
    for device in choose(stage, device_names(session, rollout.line), str(rollout.id)):
        row = session.get(RolloutDevice, (rollout.id, device))
        done = row is not None and row.slot in ("canary", "active") and row.state == "committed"
        if row is None or not done:
            row = row or RolloutDevice(
                rollout=rollout.id or 0, device=device, slot=slot, stage=index, assigned_at=now,
                updated_at=now,
            )  # fmt: skip
            row.state, row.failure, row.reason, row.assigned_at = "assigned", "", "", now
        row.slot, row.stage, row.updated_at = slot, index, now
        session.add(row)
        share = share_of(rollout, row)
        assign(session, now, rollout, device, release, slot, rollout.attempt, share)
    session.flush()


def assign(
    session: Session,
    now: float,
    rollout: Rollout,
    device: str,
    release: Release,
    slot: str,
    attempt: int,
    share: float | None = None,
) -> None:
    """What `device` is to run for the release's line from now on, on `share` of its parts."""
    row = session.get(AssignmentRow, (device, release.line)) or AssignmentRow(
        device=device, line=release.line, digest=release.digest, length=release.length,
        slot=slot, rollout=str(rollout.id), attempt=attempt, changed_at=now,
    )  # fmt: skip
    row.digest, row.length, row.slot = release.digest, release.length, slot
    row.share = share
    row.rollout, row.attempt, row.changed_at = str(rollout.id), attempt, now
    session.add(row)


def promote(session: Session, now: float, rollout: Rollout, verdict: Verdict) -> None:
    """On to the next stage; after the last the bundle is the line's champion."""
    stages = parse_plan(rollout.plan).stages
    decide(session, now, rollout, verdict)
    if rollout.stage + 1 < len(stages):
        data = {"stage": stages[rollout.stage + 1].name, "text": verdict.text}
        record(session, now, RULE, "rollout.promote", str(rollout.id), data)
        _enter(session, now, rollout, rollout.stage + 1)
        return
    move(session, now, RULE, rollout, RolloutEvent.COMPLETE, verdict.text)
    set_champion(session, now, RULE, rollout.line, rollout.digest)


def roll_back(session: Session, now: float, rollout: Rollout, verdict: Verdict) -> None:
    """Ends the rollout; its devices are assigned the champion again."""
    decide(session, now, rollout, verdict)
    move(session, now, RULE, rollout, RolloutEvent.ROLL_BACK, verdict.text, verdict.numbers)
    _revert(session, now, rollout)


def decide(session: Session, now: float, rollout: Rollout, verdict: Verdict) -> None:
    """Keeps a gate's judgement with its numbers."""
    session.add(
        GateDecision(
            rollout=rollout.id or 0,
            stage=rollout.stage,
            at=now,
            decision=verdict.decision,
            text=verdict.text,
            numbers=verdict.numbers,
        )
    )


def _revert(session: Session, now: float, rollout: Rollout) -> None:
    rows = rollout_devices(session, rollout.id or 0)
    if rollout.champion is None:
        # Nothing to go back to: no assignment means that devices keep what they run.
        for row in rows:
            assignment = session.get(AssignmentRow, (row.device, rollout.line))
            if assignment:
                session.delete(assignment)
        return
    champion = find_release(session, rollout.champion)
    rollout.revert_attempt = next_attempt(session, champion.digest)
    session.add(rollout)
    for row in rows:
        assign(session, now, rollout, row.device, champion, "active", rollout.revert_attempt)


def pause(session: Session, now: float, actor: str, rollout_id: int, reason: str = "") -> Rollout:
    """Stops the gates; devices keep what they were assigned."""
    rollout = find_rollout(session, rollout_id)
    move(session, now, actor, rollout, RolloutEvent.PAUSE, reason)
    return rollout


def resume(session: Session, now: float, actor: str, rollout_id: int) -> Rollout:
    """Lets the gates judge again; the stage's time and its devices' timeouts begin anew."""
    rollout = find_rollout(session, rollout_id)
    move(session, now, actor, rollout, RolloutEvent.RESUME)
    rollout.stage_started_at = now
    for row in rollout_devices(session, rollout_id):
        row.assigned_at = now
        session.add(row)
    return rollout


def abort(
    session: Session, now: float, actor: str, rollout_id: int, *, keep: bool = False,
    reason: str = "",
) -> Rollout:  # fmt: skip
    """A person ends it. Devices go back to the champion; with `keep`, those that made the bundle
    active stay with it, and only shadows and shares are dropped."""
    rollout = find_rollout(session, rollout_id)
    was_live = rollout.state in LIVE
    move(session, now, actor, rollout, RolloutEvent.ABORT, reason, {"keep": keep})
    if was_live and not keep:
        _revert(session, now, rollout)
    elif was_live:
        _drop_candidates(session, now, rollout)
    return rollout


def _drop_candidates(session: Session, now: float, rollout: Rollout) -> None:
    if rollout.champion is None:
        return
    champion = find_release(session, rollout.champion)
    rollout.revert_attempt = next_attempt(session, champion.digest)
    for row in rollout_devices(session, rollout.id or 0):
        if row.slot == "shadow" or share_of(rollout, row) is not None:
            assign(session, now, rollout, row.device, champion, "active", rollout.revert_attempt)


def unassigned(session: Session) -> list[tuple[str, str]]:
    """(device, line) that came to a line with a champion after its rollout."""
    busy = {rollout.line for rollout in in_states(session, list(LIVE))}
    lines = session.exec(select(Line.name).where(col(Line.champion).is_not(None))).all()
    return [
        (device, line)
        for line in lines
        if line not in busy
        for device in device_names(session, line)
        if session.get(AssignmentRow, (device, line)) is None
    ]


def adopt(session: Session, now: float, device: str, line_name: str) -> None:
    """Gives the line's champion to a device that has no assignment for it."""
    line = find_line(session, line_name)
    release = find_release(session, line.champion or "")
    last = session.exec(
        select(Rollout)
        .where(Rollout.digest == release.digest, Rollout.state == RolloutState.COMPLETED)
        .order_by(col(Rollout.id).desc())
        .limit(1)
    ).first()
    if last is None:
        return
    assign(session, now, last, device, release, "active", next_attempt(session, release.digest))
    record(session, now, RULE, "device.adopt", device, {"digest": release.digest})


def wanted(session: Session) -> dict[str, list[AssignmentRow]]:
    """Every registered device -> what it is assigned, by line."""
    found: dict[str, list[AssignmentRow]] = {
        name: [] for name in session.exec(select(Device.name).order_by(col(Device.name)))
    }
    for row in session.exec(select(AssignmentRow).order_by(col(AssignmentRow.line))):
        found.setdefault(row.device, []).append(row)
    return found
