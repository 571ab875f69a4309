"""The rollout controller: about once a second it looks at the numbers and acts.

Every act is a database transaction first; the director's metadata are then published from the rows, and
published again at any later tick where they differ. Killed anywhere, the next start goes on from there.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from sqlmodel import Session, col, select

from fleet_contract.errors import StateError
from fleet_contract.messages import Desired, DeviceState, LineState, UpdateStep
from fleet_contract.trust.custom import Assignment
from fleet_server.labels.service import reviewed_disagreements
from fleet_server.registry.models import Device
from fleet_server.releases.service import find_release, publish_ready
from fleet_server.rollouts import service
from fleet_server.rollouts.evidence import StageEvidence, history
from fleet_server.rollouts.gates import (
    Counts,
    Failure,
    Opponent,
    Pairs,
    Progress,
    Verdict,
    all_gate,
    canary_gate,
    failures_gate,
    shadow_gate,
)
from fleet_server.rollouts.machine import LIVE, RolloutState
from fleet_server.rollouts.models import AssignmentRow, Rollout, RolloutDevice
from fleet_server.rollouts.plan import Stage
from fleet_server.rollouts.progress import FAILED, SILENT, DeviceProgress, Target, observe, watch
from fleet_server.rollouts.shares import share_gate
from fleet_server.services import Services
from fleet_server.telemetry.models import EventRow
from fleet_server.trust.director import Assigned

log = logging.getLogger(__name__)

_RENEW_EVERY_S = 60.0
_JUMP_S = 2.0
"""Wall time that moves this much against durations between two ticks was set, not drifted."""
_HOLD_EVERY_S = 5.0
"""Holds are kept this often; promotions and roll-backs always."""


class Controller:
    """`tick` does everything that is due; one thread calls it."""

    def __init__(self, services: Services) -> None:
        self._services, self._trust = services, services.trust
        self._looked: dict[int, float] = {}
        self._held: dict[int, float] = {}
        self._renewed: float | None = None
        self._evidence: dict[int, tuple[float, StageEvidence, dict[str, Counts]]] = {}
        """Rollout -> start of its stage, what was counted since, and what devices counted before."""
        self._listening_since = services.clock.time()
        """Nobody could be heard before: silence and time then are not held against devices."""
        self._offset_s = self._wall_offset()

    def start(self) -> None:
        """Finishes what a crash interrupted, and tells every device to look."""
        self._publish_due()
        self._for_each(self._registered(), self._announce)

    def tick(self) -> None:
        """One round."""
        now = self._services.clock.time()
        if not self._services.publisher.connected or self._clock_was_set():
            self._listening_since = now
        publish_ready(self._services)
        self._begin_approved(now)
        live = self._live()
        self._evidence = {r.id: e for r in live if r.id and (e := self._evidence.get(r.id))}
        for rollout in live:
            self._follow(rollout, now)
        self._adopt(now)
        self._publish_due()
        self._renew(now)

    def _wall_offset(self) -> float:
        return self._services.clock.time() - self._services.clock.monotonic()

    def _clock_was_set(self) -> bool:
        """Whether wall time jumped: every device would seem silent for as long as it jumped."""
        before, self._offset_s = self._offset_s, self._wall_offset()
        return abs(self._offset_s - before) > _JUMP_S

    def _live(self) -> list[Rollout]:
        with self._services.database.read() as session:
            return service.in_states(session, list(LIVE))

    def _registered(self) -> list[str]:
        with self._services.database.read() as session:
            return list(session.exec(select(Device.name)))

    def _begin_approved(self, now: float) -> None:
        with self._services.database.read() as session:
            waiting = service.in_states(session, [RolloutState.AWAITING_APPROVAL])
            ready = [
                rollout.id
                for rollout in waiting
                if find_release(session, rollout.digest).approved_at is not None
            ]
        for rollout_id in ready:
            with self._services.database.write() as session:
                rollout = service.find_rollout(session, rollout_id or 0)
                if rollout.state == RolloutState.AWAITING_APPROVAL:
                    service.begin(session, now, service.RULE, rollout)
            self._tell(rollout)

    def _follow(self, rollout: Rollout, now: float) -> None:
        """Notes how far its devices are, then judges it."""
        self._observe(rollout, now)
        if rollout.state != RolloutState.RUNNING:
            return
        verdict = self._judge(rollout, now)
        if verdict:
            self._act(rollout, verdict, now)

    def _observe(self, rollout: Rollout, now: float) -> None:
        with self._services.database.read() as session:
            seen = [
                (row, *_seen(session, rollout, row, now, self._listening_since))
                for row in service.rollout_devices(session, rollout.id or 0)
            ]
        changed = [
            (row, progress, event)
            for row, progress, event in seen
            if (row.state, row.failure, row.reason, row.last_event)
            != (progress.state, progress.failure, progress.reason, event)
        ]
        if not changed:
            return
        with self._services.database.write() as session:
            for old, progress, event in changed:
                row = session.get(RolloutDevice, (old.rollout, old.device))
                if row and (row.slot, row.assigned_at) == (old.slot, old.assigned_at):
                    row.state, row.failure = progress.state, progress.failure
                    row.reason, row.last_event = progress.reason[:1000], event
                    row.updated_at = now
                    session.add(row)
        self._tell(rollout)

    def _judge(self, rollout: Rollout, now: float) -> Verdict | None:
        """The gate's verdict where it is time to look; failures are looked at each time."""
        stage, key = service.stage_of(rollout), rollout.id or 0
        with self._services.database.read() as session:
            rows = service.rollout_devices(session, key)
            progress = _progress(rollout, rows, now - self._listening_since, now)
            failed = failures_gate(stage, progress)
            if failed:
                return failed
            if now - self._looked.get(key, 0.0) < stage.look_every_s:
                return None
            self._looked[key] = now
            evidence, before = self._gather(session, rollout, stage)
            return _gate(session, rollout, stage, progress, evidence, before)

    def _gather(
        self, session: Session, rollout: Rollout, stage: Stage
    ) -> tuple[StageEvidence, dict[str, Counts]]:
        """Counts since the stage began, and for a canary those before."""
        key, since = rollout.id or 0, rollout.stage_started_at or 0.0
        known = self._evidence.get(key)
        if known is None or known[0] != since:
            made = StageEvidence(
                rollout.line, rollout.digest, judged=rollout.champion is None, since_s=since,
                bin_s=stage.bin_s,
            )  # fmt: skip
            known = (since, made, _earlier(session, rollout, stage))
            self._evidence[key] = known
        known[1].read(session)
        return known[1], known[2]

    def _act(self, rollout: Rollout, verdict: Verdict, now: float) -> None:
        key, pause = rollout.id or 0, self._to_pause(rollout, verdict, now)
        if verdict.decision == "hold" and not pause:
            if now - self._held.get(key, 0.0) < _HOLD_EVERY_S:
                return
            self._held[key] = now
        with self._services.database.write() as session:
            fresh = service.find_rollout(session, key)
            if (fresh.state, fresh.stage) != (RolloutState.RUNNING, rollout.stage):
                return  # A person was faster.
            if verdict.decision == "promote":
                service.promote(session, now, fresh, verdict)
            elif verdict.decision == "roll_back":
                service.roll_back(session, now, fresh, verdict)
            else:
                service.decide(session, now, fresh, verdict)
            if pause:
                service.pause(session, now, service.RULE, key, f"inconclusive: {verdict.text}")
        log.info("rollout %d, %s: %s", key, verdict.decision, verdict.text)
        self._tell(fresh)

    def _to_pause(self, rollout: Rollout, verdict: Verdict, now: float) -> bool:
        stage = service.stage_of(rollout)
        over = now - (rollout.stage_started_at or now) >= stage.horizon_s
        wanted = stage.name != "all" and stage.inconclusive == "pause"
        return verdict.decision == "hold" and over and wanted

    def _adopt(self, now: float) -> None:
        with self._services.database.read() as session:
            came = service.unassigned(session)
        for device, line in came:
            with self._services.database.write() as session:
                service.adopt(session, now, device, line)
            log.info("device %s is given the champion of line %s", device, line)

    def _publish_due(self) -> None:
        """Publishes the director's metadata wherever they differ from the database."""
        with self._services.database.read() as session:
            wanted = service.wanted(session)
        director = self._trust.director

        def publish(device: str) -> None:
            entries = tuple(_assigned(row) for row in wanted[device])
            if entries != director.assigned(device):
                director.assign(device, entries)
                self._announce(device)

        self._for_each(wanted, publish)

    def _announce(self, device: str) -> None:
        hint = Desired(director_version=self._trust.director.version(device))
        self._services.publisher.publish("desired", {"device": device}, hint.encode())

    def _renew(self, now: float) -> None:
        if self._renewed is not None and now - self._renewed < _RENEW_EVERY_S:
            return
        self._renewed = now
        self._trust.image.renew()

        def renew(device: str) -> None:
            if self._trust.director.renew(device):
                self._announce(device)

        self._for_each(self._registered(), renew)

    def _for_each(self, devices: Iterable[str], act: Callable[[str], None]) -> None:
        """One device's damaged repository must not hold up the others'."""
        for device in devices:
            try:
                act(device)
            except StateError:
                self._services.failures["director"] += 1
                log.exception("metadata of %s", device)

    def _tell(self, rollout: Rollout) -> None:
        self._services.bus.publish("rollouts", {"rollout": rollout.id})


def _assigned(row: AssignmentRow) -> Assigned:
    share = None if row.share is None else round(1000 * row.share)
    assignment = Assignment.model_validate(
        {"line": row.line, "slot": row.slot, "rollout": row.rollout, "attempt": row.attempt,
         "share_permille": share}
    )  # fmt: skip
    return Assigned(row.digest, row.length, assignment)


def _target(rollout: Rollout, row: RolloutDevice) -> Target:
    share = service.share_of(rollout, row)
    return Target(rollout.digest, str(rollout.id), rollout.attempt, row.slot, share)


def _seen(
    session: Session, rollout: Rollout, row: RolloutDevice, now: float, listening_s: float
) -> tuple[DeviceProgress, int]:
    """What the device's events and state say of its update, and the last event that was looked at."""
    stage = service.stage_of(rollout)
    target = _target(rollout, row)
    events = list(
        session.exec(
            select(EventRow)
            .where(
                EventRow.device == row.device,
                col(EventRow.id) > row.last_event,
                col(EventRow.received_at) >= rollout.created_at,
                col(EventRow.kind).in_(["update", "refused"]),
            )
            .order_by(col(EventRow.id))
        )
    )
    device = session.get(Device, row.device)
    before = DeviceProgress(row.state, row.failure, row.reason)
    progress = observe(before, target, _steps(events, target), _line_state(device, rollout.line))
    progress = watch(
        progress,
        target,
        waited_s=now - max(row.assigned_at, listening_s),
        update_timeout_s=stage.update_timeout_s,
        unheard_s=now - max(device.last_seen, listening_s) if device and device.last_seen else None,
        silent_timeout_s=stage.silent_timeout_s,
    )
    return progress, max((event.id or 0 for event in events), default=row.last_event)


def _steps(events: Sequence[EventRow], target: Target) -> list[UpdateStep]:
    steps = []
    for event in events:
        if event.kind == "update":
            steps.append(UpdateStep.model_validate(event.data))
        elif event.digest == target.digest and _of_attempt(event, target):
            refusal = {"state": "failed", "slot": target.slot, "reason": event.text}
            steps.append(
                UpdateStep.model_validate(
                    {
                        **refusal,
                        "digest": target.digest,
                        "rollout": target.rollout,
                        "attempt": target.attempt,
                        "failure": str(event.data.get("class", "trust")),
                    }
                )
            )
    return steps


def _of_attempt(event: EventRow, target: Target) -> bool:
    named = (event.data.get("rollout", target.rollout), event.data.get("attempt", target.attempt))
    return named == (target.rollout, target.attempt)


def _line_state(device: Device | None, line: str) -> LineState | None:
    if device is None or device.state is None:
        return None
    return DeviceState.model_validate(device.state).lines.get(line)


def _progress(
    rollout: Rollout, rows: Sequence[RolloutDevice], listened_s: float, now: float
) -> Progress:
    rows = [row for row in rows if row.stage == rollout.stage]
    return Progress(
        devices=tuple(row.device for row in rows),
        ready=tuple(row.device for row in rows if row.state == _target(rollout, row).ready),
        failures=tuple(
            Failure(row.device, row.failure, row.reason)
            for row in rows
            if row.state == FAILED or row.failure == SILENT
        ),
        elapsed_s=min(now - (rollout.stage_started_at or now), listened_s),
    )


def _earlier(session: Session, rollout: Rollout, stage: Stage) -> dict[str, Counts]:
    if stage.name != "canary" or rollout.champion is None:
        return {}
    until = rollout.stage_started_at or 0.0
    return history(session, rollout.line, rollout.champion, until_s=until, span_s=stage.history_s)


def _gate(
    session: Session,
    rollout: Rollout,
    stage: Stage,
    progress: Progress,
    evidence: StageEvidence,
    before: dict[str, Counts],
) -> Verdict:
    champion = rollout.champion or ""
    if stage.name == "shadow":
        reviewed = reviewed_disagreements(session, rollout.line, rollout.champion, rollout.digest)
        opponent: Opponent = "champion" if rollout.champion else "judge"
        return shadow_gate(stage, progress, evidence.pairs, reviewed, champion=opponent)
    own = evidence.arm(dict.fromkeys(progress.devices, rollout.digest), before)
    if stage.name == "all":
        return all_gate(stage, progress, {arm.device: arm.total.parts for arm in own})
    if stage.share < 1:
        beside = evidence.arm(dict.fromkeys(progress.devices, champion), {})
        pairs = [found for name, found in evidence.pairs.items() if name in progress.devices]
        reviewed = reviewed_disagreements(session, rollout.line, champion, rollout.digest)
        return share_gate(stage, progress, own, beside, sum(pairs, Pairs()), reviewed)
    others = set(service.device_names(session, rollout.line)) - set(progress.devices)
    control = evidence.arm(dict.fromkeys(others, champion), before)
    return canary_gate(stage, progress, own, [arm for arm in control if arm.total != Counts()])
