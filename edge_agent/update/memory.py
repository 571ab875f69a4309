"""What a line remembers: the epoch's floor, and how each attempt ended. Part of the caller's transaction."""

from edge_agent.db import Database


class Memory:
    """Thread-safe through its database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def floor(self, line: str) -> int:
        """The lowest epoch that may run; raised when a bundle is committed."""
        rows = self._db.rows("SELECT epoch FROM floors WHERE line = ?", line)
        return int(rows[0][0]) if rows else 0

    def raise_floor(self, line: str, epoch: int) -> None:
        """Never lowers it."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO floors VALUES (?, ?) ON CONFLICT (line)"
                " DO UPDATE SET epoch = max(epoch, excluded.epoch)",
                (line, epoch),
            )

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

    def remember(self, line: str, digest: str, attempt: int, outcome: str) -> None:
        """How an attempt ended: failed, rolled_back or committed."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?)",
                (line, digest, attempt, outcome),
            )
