"""Slots: where bundles lie on the device, per line. Each call is a part of the caller's transaction."""

from dataclasses import dataclass

from edge_agent.db import Database
from edge_agent.update.target import Target
from fleet_contract.clock import Clock
from fleet_contract.errors import StateError
from fleet_contract.messages import SlotState
from fleet_contract.names import Slot


@dataclass(frozen=True, slots=True)
class SlotRow:
    """What lies in a slot."""

    digest: str
    attempt: int
    since_s: float
    committed: bool

    def state(self) -> SlotState:
        """What is reported of it."""
        return SlotState(digest=self.digest, attempt=self.attempt, since_s=self.since_s)


class Slots:
    """Thread-safe through its database."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock

    def get(self, line: str, slot: Slot) -> SlotRow | None:
        """What lies in a slot."""
        rows = self._db.rows(
            "SELECT digest, attempt, since_s, committed FROM slots WHERE line = ? AND slot = ?",
            line, slot,
        )  # fmt: skip
        return SlotRow(rows[0][0], rows[0][1], rows[0][2], bool(rows[0][3])) if rows else None

    def digests(self) -> set[str]:
        """All bundles in any slot of any line."""
        return {str(row[0]) for row in self._db.rows("SELECT digest FROM slots")}

    def fill(self, line: str, slot: Slot, target: Target, *, committed: bool) -> None:
        """Puts the target's bundle into a slot, in place of what lies there."""
        self.clear(line, slot)
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO slots VALUES (?, ?, ?, ?, ?, ?)",
                (line, slot, target.digest, target.assignment.attempt, self._clock.time(), committed),
            )  # fmt: skip

    def clear(self, line: str, slot: Slot) -> None:
        """Empties a slot."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM slots WHERE line = ? AND slot = ?", (line, slot))

    def settle(self, target: Target) -> None:
        """Notes that what is assigned is active already, under this attempt. Raises StateError."""
        active = self.get(target.line, Slot.ACTIVE)
        if active is None or active.digest != target.digest:
            raise StateError(f"{target.digest[:12]} is not active on {target.line}")
        with self._db.transaction() as db:
            db.execute(
                "UPDATE slots SET attempt = ? WHERE line = ? AND slot = ?",
                (target.assignment.attempt, target.line, Slot.ACTIVE),
            )

    def make_active(self, target: Target, *, committed: bool) -> None:
        """Active becomes previous if it was committed; the target's bundle becomes active."""
        active = self.get(target.line, Slot.ACTIVE)
        if active is not None and active.committed:
            self._move_active_to_previous(target.line)
        previous = self.get(target.line, Slot.PREVIOUS)
        if previous is not None and previous.digest == target.digest:
            self.clear(target.line, Slot.PREVIOUS)
        self.fill(target.line, Slot.ACTIVE, target, committed=committed)

    def revert(self, line: str) -> None:
        """The previous bundle becomes the active one."""
        self.clear(line, Slot.ACTIVE)
        with self._db.transaction() as db:
            db.execute(
                "UPDATE slots SET slot = ?, since_s = ? WHERE line = ? AND slot = ?",
                (Slot.ACTIVE, self._clock.time(), line, Slot.PREVIOUS),
            )

    def _move_active_to_previous(self, line: str) -> None:
        self.clear(line, Slot.PREVIOUS)
        with self._db.transaction() as db:
            db.execute(
                "UPDATE slots SET slot = ? WHERE line = ? AND slot = ?",
                (Slot.PREVIOUS, line, Slot.ACTIVE),
            )
