"""The agent's one durable place: a SQLite file that survives a kill at any instant.

WAL with synchronous=FULL: a commit is on the disk when it returns. Record numbers must not be given
twice after a power cut, since the server would take the second record for a duplicate; with one or
two commits a second the price is small.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet_contract.errors import ResourceError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS streams (stream TEXT PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS usage (id INTEGER PRIMARY KEY CHECK (id = 1),
    records INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT OR IGNORE INTO usage VALUES (1, 0, 0);
CREATE TABLE IF NOT EXISTS records (
    stream TEXT NOT NULL, number INTEGER NOT NULL, through INTEGER NOT NULL,
    value INTEGER NOT NULL, bytes INTEGER NOT NULL, record BLOB NOT NULL, image BLOB,
    PRIMARY KEY (stream, number));
CREATE INDEX IF NOT EXISTS records_by_value ON records (value, stream, number);
CREATE TABLE IF NOT EXISTS progress (camera TEXT PRIMARY KEY, base INTEGER NOT NULL,
    trigger INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS kept (why TEXT NOT NULL, at_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS slots (line TEXT NOT NULL, slot TEXT NOT NULL, digest TEXT NOT NULL,
    attempt INTEGER NOT NULL, since_s REAL NOT NULL, committed INTEGER NOT NULL,
    PRIMARY KEY (line, slot));
CREATE TABLE IF NOT EXISTS updates (line TEXT PRIMARY KEY, target TEXT NOT NULL,
    state TEXT NOT NULL, failure TEXT NOT NULL, reason TEXT NOT NULL, deaths INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS outcomes (line TEXT NOT NULL, digest TEXT NOT NULL,
    attempt INTEGER NOT NULL, outcome TEXT NOT NULL, PRIMARY KEY (line, digest, attempt));
CREATE TABLE IF NOT EXISTS floors (line TEXT PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, kind TEXT NOT NULL,
    line TEXT NOT NULL, at_s REAL NOT NULL);
"""


log = logging.getLogger(__name__)


def _opened(path: Path, *first: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    try:
        for pragma in (*first, "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL"):
            connection.execute(pragma)
        connection.executescript(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class Database:
    """One connection, shared by the agent's threads; every use is inside `transaction`."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises ResourceError."""
        self._lock = threading.RLock()
        self._depth = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = _opened(path)
            except sqlite3.OperationalError as error:
                # A full disk has no room for the log's index. Without sharing it lies in memory.
                log.warning("%s: %s; it is opened for this process alone", path, error)
                self._connection = _opened(path, "PRAGMA locking_mode=EXCLUSIVE")
        except (sqlite3.Error, OSError) as error:
            raise ResourceError(
                f"the agent's database {path} cannot be used: {error}",
                remedy="Check the folder's owner and the free space.",
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; inside another transaction it is a part of that one."""
        with self._lock:
            outermost = self._depth == 0
            if outermost:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._connection
                if outermost:
                    self._connection.execute("COMMIT")
            except BaseException:
                if outermost and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a query, without writing."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Folds the log into the file and lets go of it."""
        with self._lock:
            self._connection.close()

    def get(self, key: str, default: str = "") -> str:
        """A value of `meta`."""
        rows = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else default

    def set(self, key: str, value: str) -> None:
        """Sets a value of `meta`."""
        with self.transaction() as db:
            db.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )

    def count(self, key: str) -> int:
        """The next number of a counter in `meta`: durable before it is used, from 1."""
        with self.transaction():
            number = int(self.get(key, "0")) + 1
            self.set(key, str(number))
        return number
