"""Slots, update state and memory of attempts in SQLite: one transaction a step, its event included.

What the transaction leaves behind is what the next start finds; there is no state beside it.
"""

import logging
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict

from edge_agent.db import Database
from edge_agent.spool import Spool, Value
from edge_agent.update.machine import BEFORE_EXCHANGE, Event, next_state
from edge_agent.update.plan import Order, View
from fleet_contract.clock import Clock
from fleet_contract.errors import StateError
from fleet_contract.messages import (
    EventBody,
    LineState,
    SlotState,
    Stream,
    UpdateReport,
    UpdateStep,
)
from fleet_contract.names import Slot, UpdateState
from fleet_contract.trust.client import Agreed
from fleet_contract.trust.custom import Assignment, ImageCustom

log = logging.getLogger(__name__)


class Target(BaseModel):
    """What both repositories agreed on, kept with the update so that it survives a restart."""

    model_config = ConfigDict(frozen=True)

    line: str
    digest: str
    length: int
    sha256: str
    assignment: Assignment
    image: ImageCustom

    @classmethod
    def of(cls, agreed: Agreed) -> Self:
        """The same, as a value that can be stored."""
        return cls(
            line=agreed.line,
            digest=agreed.digest,
            length=agreed.length,
            sha256=agreed.sha256,
            assignment=agreed.assignment,
            image=agreed.image,
        )

    @property
    def order(self) -> Order:
        """What the plan needs of it."""
        a = self.assignment
        return Order(self.digest, a.attempt, a.slot, a.rollout)


@dataclass(frozen=True, slots=True)
class Update:
    """The update under way on a line, or the last one."""

    target: Target
    state: UpdateState
    failure: str
    reason: str
    deaths: int


@dataclass(frozen=True, slots=True)
class SlotRow:
    """What lies in a slot."""

    digest: str
    attempt: int
    since_s: float
    committed: bool


class Durable:
    """Thread-safe through its database."""

    def __init__(self, db: Database, spool: Spool, clock: Clock) -> None:
        self._db, self._spool, self._clock = db, spool, clock

    def update(self, line: str) -> Update | None:
        """The update under way, or the last one."""
        rows = self._db.rows(
            "SELECT target, state, failure, reason, deaths FROM updates WHERE line = ?", line
        )
        if not rows:
            return None
        target, state, failure, reason, deaths = rows[0]
        return Update(
            Target.model_validate_json(target), UpdateState(state), failure, reason, deaths
        )

    def slot(self, line: str, slot: Slot) -> SlotRow | None:
        """What lies in a slot."""
        rows = self._db.rows(
            "SELECT digest, attempt, since_s, committed FROM slots WHERE line = ? AND slot = ?",
            line, slot,
        )  # fmt: skip
        return SlotRow(rows[0][0], rows[0][1], rows[0][2], bool(rows[0][3])) if rows else None

    def floor(self, line: str) -> int:
        """The lowest epoch that may run; raised when a bundle is committed."""
        rows = self._db.rows("SELECT epoch FROM floors WHERE line = ?", line)
        return int(rows[0][0]) if rows else 0

    def outcome(self, line: str, digest: str, attempt: int) -> str:
        """How that attempt ended here: failed, rolled_back, committed, or '' ."""
        rows = self._db.rows(
            "SELECT outcome FROM outcomes WHERE line = ? AND digest = ? AND attempt = ?",
            line, digest, attempt,
        )  # fmt: skip
        return str(rows[0][0]) if rows else ""

    def proven(self, line: str, digest: str) -> bool:
        """Whether the bundle was committed on this device before."""
        return bool(self._db.rows(
            "SELECT 1 FROM outcomes WHERE line = ? AND digest = ? AND outcome = 'committed'",
            line, digest,
        ))  # fmt: skip

    def view(self, target: Target) -> View:
        """The line as the plan for `target` sees it."""
        update, active = self.update(target.line), self.slot(target.line, Slot.ACTIVE)
        previous = self.slot(target.line, Slot.PREVIOUS)
        tried = self.outcome(target.line, target.digest, target.assignment.attempt)
        return View(
            active=active.digest if active else None,
            previous=previous.digest if previous else None,
            state=update.state if update else UpdateState.IDLE,
            update=update.target.order if update else None,
            tried=tried in ("failed", "rolled_back"),
        )

    def begin(self, target: Target, event: Event) -> Update:
        """A new update takes the place of the last one, which has ended (ASSIGNED, SETTLED)."""
        with self._db.transaction():
            last = self.update(target.line)
            state = next_state(last.state if last else UpdateState.IDLE, event)
            update = Update(target, state, "", "", 0)
            if event is Event.SETTLED:
                self._settle(target)
            self._store(update)
            self._tell(update, {})
        return update

    def relabel(self, target: Target) -> None:
        """The same bundle and attempt under another slot name or rollout; the state stays."""
        with self._db.transaction():
            update = self._current(target)
            changed = Update(target, update.state, update.failure, update.reason, update.deaths)
            self._store(changed)
            self._tell(changed, {})

    def advance(
        self,
        target: Target,
        event: Event,
        *,
        failure: str = "",
        reason: str = "",
        numbers: dict[str, float] | None = None,
    ) -> Update:
        """One step of the table with all that belongs to it. Raises StateError."""
        with self._db.transaction():
            before = self._current(target)
            state = next_state(before.state, event)
            deaths = before.deaths if state is before.state else 0
            update = Update(target, state, failure, reason, deaths)
            self._effect(target, before.state, event, failure)
            self._store(update)
            self._tell(update, numbers or {})
        return update

    def roll_back(self, line: str, reason: str) -> None:
        """An operator's order: back to the previous bundle, and the active one is not tried again.

        Raises StateError where there is none to go back to.
        """
        with self._db.transaction() as db:
            active, update = self.slot(line, Slot.ACTIVE), self.update(line)
            if active is None or self.slot(line, Slot.PREVIOUS) is None:
                raise StateError(
                    f"line {line} has no previous bundle",
                    remedy="A bundle becomes the previous one when the next is activated.",
                )
            if update is not None and update.state in BEFORE_EXCHANGE:
                self.advance(update.target, Event.SUPERSEDED, reason=reason)
            elif update is not None and update.target.digest == active.digest:
                self.advance(update.target, Event.REVERTED, reason=reason)
                return
            self._revert(line)
            db.execute(
                "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, 'rolled_back')",
                (line, active.digest, active.attempt),
            )

    def count_death(self, target: Target) -> int:
        """The agent ended uncleanly with this update in its present state; how often so far."""
        with self._db.transaction() as db:
            db.execute("UPDATE updates SET deaths = deaths + 1 WHERE line = ?", (target.line,))
            return self._current(target).deaths

    def _current(self, target: Target) -> Update:
        update = self.update(target.line)
        mine = (target.digest, target.assignment.attempt)
        if update is None or (update.target.digest, update.target.assignment.attempt) != mine:
            raise StateError(f"the update of {target.line} is another one by now")
        return update

    def _effect(self, target: Target, state: UpdateState, event: Event, failure: str) -> None:
        line = target.line
        if state is UpdateState.SHADOW:
            self._clear(line, Slot.CANDIDATE)
        if event is Event.SHADOWED:
            self._fill(line, Slot.CANDIDATE, target, committed=False)
        if event in (Event.EXCHANGED, Event.RETURNED):
            self._make_active(target, committed=event is Event.RETURNED)
        if event is Event.HELD:
            self._fill(line, Slot.ACTIVE, target, committed=True)
            self._raise_floor(line, target.image.epoch)
            self._remember(target, "committed")
        if event is Event.REVERTED:
            self._revert(line)
            self._remember(target, "rolled_back")
        if event is Event.FAILED and failure != "network":
            self._remember(target, "failed")

    def _settle(self, target: Target) -> None:
        active = self.slot(target.line, Slot.ACTIVE)
        if active is None or active.digest != target.digest:
            raise StateError(f"{target.digest[:12]} is not active on {target.line}")
        with self._db.transaction() as db:
            db.execute(
                "UPDATE slots SET attempt = ? WHERE line = ? AND slot = ?",
                (target.assignment.attempt, target.line, Slot.ACTIVE),
            )

    def _make_active(self, target: Target, *, committed: bool) -> None:
        active = self.slot(target.line, Slot.ACTIVE)
        if active is not None and active.committed:
            self._move_active_to_previous(target.line)
        previous = self.slot(target.line, Slot.PREVIOUS)
        if previous is not None and previous.digest == target.digest:
            self._clear(target.line, Slot.PREVIOUS)
        self._fill(target.line, Slot.ACTIVE, target, committed=committed)

    def _move_active_to_previous(self, line: str) -> None:
        self._clear(line, Slot.PREVIOUS)
        with self._db.transaction() as db:
            db.execute(
                "UPDATE slots SET slot = ? WHERE line = ? AND slot = ?",
                (Slot.PREVIOUS, line, Slot.ACTIVE),
            )

    def _revert(self, line: str) -> None:
        self._clear(line, Slot.ACTIVE)
        with self._db.transaction() as db:
            db.execute(
                "UPDATE slots SET slot = ?, since_s = ? WHERE line = ? AND slot = ?",
                (Slot.ACTIVE, self._clock.time(), line, Slot.PREVIOUS),
            )

    def _fill(self, line: str, slot: Slot, target: Target, *, committed: bool) -> None:
        self._clear(line, slot)
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO slots VALUES (?, ?, ?, ?, ?, ?)",
                (line, slot, target.digest, target.assignment.attempt, self._clock.time(), committed),
            )  # fmt: skip

    def _clear(self, line: str, slot: Slot) -> None:
        with self._db.transaction() as db:
            db.execute("DELETE FROM slots WHERE line = ? AND slot = ?", (line, slot))

    def _raise_floor(self, line: str, epoch: int) -> None:
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO floors VALUES (?, ?) ON CONFLICT (line)"
                " DO UPDATE SET epoch = max(epoch, excluded.epoch)",
                (line, epoch),
            )

    def _remember(self, target: Target, outcome: str) -> None:
        with self._db.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?)",
                (target.line, target.digest, target.assignment.attempt, outcome),
            )

    def _store(self, update: Update) -> None:
        with self._db.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO updates VALUES (?, ?, ?, ?, ?, ?)",
                (
                    update.target.line,
                    update.target.model_dump_json(),
                    update.state,
                    update.failure,
                    update.reason[:1000],
                    update.deaths,
                ),
            )

    def _tell(self, update: Update, numbers: dict[str, float]) -> None:
        target, a = update.target, update.target.assignment
        step = UpdateStep(
            state=update.state, digest=target.digest, rollout=a.rollout, attempt=a.attempt,
            slot=a.slot, failure=update.failure, reason=update.reason[:1000], numbers=numbers,
        )  # fmt: skip
        log.info(
            "update of %s: %s is %s %s",
            target.line,
            target.digest[:12],
            update.state,
            update.reason,
        )
        bad = update.state in (UpdateState.FAILED, UpdateState.ROLLED_BACK)
        self.event(
            "update",
            f"{target.digest[:12]}: {update.state}" + (f": {update.reason}" if update.reason else ""),
            line=target.line, digest=target.digest, severity="error" if bad else "info",
            data=step.model_dump(mode="json"),
        )  # fmt: skip

    def event(
        self,
        kind: str,
        text: str,
        *,
        severity: str = "info",
        line: str | None = None,
        digest: str | None = None,
        data: dict[str, object] | None = None,
    ) -> None:
        """Stores an event in the spool."""
        body = EventBody.model_validate(
            {"kind": kind, "severity": severity, "line": line, "digest": digest,
             "text": text[:2000], "data": data or {}}
        )  # fmt: skip
        self._spool.append(Stream.EVENTS, body, Value.EVENT)

    def order(self, kind: str, line: str) -> None:
        """An operator's order, for the running agent or the next one."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO orders (kind, line, at_s) VALUES (?, ?, ?)",
                (kind, line, self._clock.time()),
            )

    def orders(self) -> list[tuple[int, str, str]]:
        """Orders that wait: id, kind, line."""
        return [
            tuple(row) for row in self._db.rows("SELECT id, kind, line FROM orders ORDER BY id")
        ]

    def order_done(self, number: int) -> None:
        """Forgets an order."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM orders WHERE id = ?", (number,))

    def waiting(self) -> tuple[int, int]:
        """Records and bytes in the spool."""
        return self._spool.usage()

    def last_part(self, camera: str) -> int | None:
        """Number of the last part that is stored."""
        rows = self._db.rows("SELECT base + trigger FROM progress WHERE camera = ?", camera)
        return int(rows[0][0]) if rows else None

    def needed(self) -> set[str]:
        """Digests of all bundles that must stay on the disk."""
        digests = {str(row[0]) for row in self._db.rows("SELECT digest FROM slots")}
        for (line,) in self._db.rows("SELECT line FROM updates"):
            update = self.update(line)
            if update is not None:
                digests.add(update.target.digest)
        return digests

    def line_state(self, line: str, *, inspecting: bool) -> LineState:
        """What is reported of the line."""
        update = self.update(line)
        return LineState(
            active=self._slot_state(line, Slot.ACTIVE),
            previous=self._slot_state(line, Slot.PREVIOUS),
            candidate=self._slot_state(line, Slot.CANDIDATE),
            update=_report(update) if update else None,
            epoch_floor=self.floor(line),
            inspecting=inspecting,
        )

    def _slot_state(self, line: str, slot: Slot) -> SlotState | None:
        row = self.slot(line, slot)
        if row is None:
            return None
        return SlotState(digest=row.digest, attempt=row.attempt, since_s=row.since_s)


def _report(update: Update) -> UpdateReport:
    a = update.target.assignment
    return UpdateReport(
        state=update.state,
        digest=update.target.digest,
        rollout=a.rollout,
        attempt=a.attempt,
        failure=update.failure,
        reason=update.reason,
    )
