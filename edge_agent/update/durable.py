"""Slots, update state and memory of attempts in SQLite: one transaction a step, its event included.

What the transaction leaves behind is what the next start finds; there is no state beside it.
"""

import logging

from edge_agent.db import Database
from edge_agent.spool import Spool, Value
from edge_agent.update.machine import (
    BEFORE_EXCHANGE,
    BESIDE,
    EXCHANGING,
    TERMINAL,
    Event,
    next_state,
)
from edge_agent.update.memory import Memory
from edge_agent.update.plan import View
from edge_agent.update.slots import Slots
from edge_agent.update.target import Target, Update
from fleet_contract.clock import Clock
from fleet_contract.errors import StateError
from fleet_contract.messages import (
    EventBody,
    LineState,
    Stream,
    UpdateStep,
)
from fleet_contract.names import Slot, UpdateState

log = logging.getLogger(__name__)


class Durable:
    """Thread-safe through its database."""

    def __init__(self, db: Database, spool: Spool, clock: Clock) -> None:
        self._db, self._spool, self._clock = db, spool, clock
        self.slots, self.memory = Slots(db, clock), Memory(db)

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

    def view(self, target: Target) -> View:
        """The line as the plan for `target` sees it."""
        update, active = self.update(target.line), self.slots.get(target.line, Slot.ACTIVE)
        previous = self.slots.get(target.line, Slot.PREVIOUS)
        tried = self.memory.outcome(target.line, target.digest, target.assignment.attempt)
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
                self.slots.settle(target)
            self._store(update)
            self._tell(update, {})
        return update

    def relabel(self, target: Target) -> None:
        """The same bundle and attempt under another slot name, share or rollout; the state stays."""
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
            goes_on = state is before.state or {state, before.state} <= EXCHANGING
            deaths = before.deaths if goes_on else 0
            update = Update(target, state, failure, reason, deaths)
            self._effect(target, before.state, event, failure)
            self._store(update)
            self._tell(update, numbers or {})
        return update

    def roll_back(self, line: str, reason: str) -> None:
        """An operator's order: back to the previous bundle, and the active one is not tried again.

        A candidate that judges a share of the parts loses it, and the active bundle stays: that is
        what was before. Raises StateError where there is nothing to go back to.
        """
        with self._db.transaction():
            active, update = self.slots.get(line, Slot.ACTIVE), self.update(line)
            if update is not None and update.state is UpdateState.CANARY:
                self.advance(update.target, Event.REVERTED, reason=reason)
                return
            if active is None or self.slots.get(line, Slot.PREVIOUS) is None:
                raise StateError(
                    f"line {line} has no previous bundle",
                    remedy="A bundle becomes the previous one when the next is activated.",
                )
            if update is not None and update.state in BEFORE_EXCHANGE:
                self.advance(update.target, Event.SUPERSEDED, reason=reason)
            elif update is not None and update.target.digest == active.digest:
                self.advance(update.target, Event.REVERTED, reason=reason)
                return
            self.slots.revert(line)
            self.memory.remember(line, active.digest, active.attempt, "rolled_back")

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
        if state in BESIDE:
            self.slots.clear(line, Slot.CANDIDATE)
        if event in (Event.SHADOWED, Event.ALLOTTED):
            self.slots.fill(line, Slot.CANDIDATE, target, committed=False)
        if event in (Event.EXCHANGED, Event.RETURNED):
            self.slots.make_active(target, committed=event is Event.RETURNED)
        if event is Event.HELD:
            self.slots.fill(line, Slot.ACTIVE, target, committed=True)
            self.memory.raise_floor(line, target.image.epoch)
            self.memory.remember(line, target.digest, target.assignment.attempt, "committed")
        if event is Event.INTERRUPTED or (event is Event.REVERTED and state not in BESIDE):
            self.slots.revert(line)
        if event is Event.REVERTED:
            self.memory.remember(line, target.digest, target.assignment.attempt, "rolled_back")
        if event is Event.FAILED and failure != "network":
            self.memory.remember(line, target.digest, target.assignment.attempt, "failed")

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
            slot=a.slot, share=a.share, failure=update.failure, reason=update.reason[:1000],
            numbers=numbers,
        )  # fmt: skip
        log.info(
            "update of %s: %s is %s %s",
            target.line,
            target.digest[:12],
            update.state,
            update.reason,
        )
        share = f" of {100 * a.share:g} % of the parts" if a.share else ""
        state = update.state + (share if update.state is UpdateState.CANARY else "")
        bad = update.state in (UpdateState.FAILED, UpdateState.ROLLED_BACK)
        self.event(
            "update",
            f"{target.digest[:12]}: {state}" + (f": {update.reason}" if update.reason else ""),
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

    def update_locked(self, line: str) -> bool:
        """Whether the line said "not now": nothing new is begun, and nothing exchanged."""
        return self._db.get(f"update_lock/{line}") == "yes"

    def lock_updates(self, line: str, locked: bool) -> None:
        """Sets or lifts the line's lock, and tells it."""
        with self._db.transaction():
            self._db.set(f"update_lock/{line}", "yes" if locked else "no")
            text = "updates are locked on the spot" if locked else "updates are unlocked"
            self.event("update_lock", text, severity="warning" if locked else "info", line=line)

    @property
    def spool_id(self) -> str:
        """Id of the spool: with it a part's number is its name in the fleet."""
        return self._spool.id

    def waiting(self) -> tuple[int, int]:
        """Records and bytes in the spool."""
        return self._spool.usage()

    def last_part(self, camera: str) -> int | None:
        """Number of the last part that is stored."""
        rows = self._db.rows("SELECT base + trigger FROM progress WHERE camera = ?", camera)
        return int(rows[0][0]) if rows else None

    def needed(self) -> set[str]:
        """Digests of all bundles that must stay on the disk."""
        digests = self.slots.digests()
        for (line,) in self._db.rows("SELECT line FROM updates"):
            update = self.update(line)
            if update is not None and update.state not in TERMINAL:
                digests.add(update.target.digest)
        return digests

    def arriving(self) -> set[str]:
        """Digests of what is being fetched: the archive and its wire encodings."""
        digests: set[str] = set()
        for (line,) in self._db.rows("SELECT line FROM updates"):
            update = self.update(line)
            if update and update.state in (UpdateState.FETCHING, UpdateState.VERIFIED):
                encodings = update.target.image.encodings
                digests |= {update.target.digest, *(encoding.digest for encoding in encodings)}
        return digests

    def line_state(self, line: str, *, inspecting: bool) -> LineState:
        """What is reported of the line."""
        update = self.update(line)
        rows = {slot: self.slots.get(line, slot) for slot in Slot}
        states = {str(slot): row.state() if row else None for slot, row in rows.items()}
        candidate = states[Slot.CANDIDATE]
        if candidate is not None and update is not None and update.state is UpdateState.CANARY:
            share = update.target.assignment.share
            states[Slot.CANDIDATE] = candidate.model_copy(update={"share": share})
        return LineState(
            **states,
            update=update.report() if update else None,
            epoch_floor=self.memory.floor(line),
            inspecting=inspecting,
        )
