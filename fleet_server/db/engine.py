"""Engine and sessions.

SQLite has one writer. Writers of this process take turns by a lock and begin with BEGIN IMMEDIATE, so
that no transaction has to be given up half way; other processes (the command line) wait by the
busy timeout.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session

_AFTER_COMMIT = "loupe_after_commit"
_BUSY_TIMEOUT_MS = 30_000


class Database:
    """One database; `read` and `write` give sessions."""

    def __init__(self, url: str) -> None:
        self.url = url
        sqlite = make_url(url).get_backend_name() == "sqlite"
        arguments = {"check_same_thread": False} if sqlite else {}
        self.engine: Engine = create_engine(url, connect_args=arguments, json_serializer=_json)
        self._writer = self.engine.execution_options(loupe_write=True)
        self._turn = threading.Lock()
        if sqlite:
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database and changes nothing."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits at its end, or rolls back on an error.

        What `after_commit` registered runs then, in its order, outside the transaction.
        """
        with self._turn, Session(self._writer, expire_on_commit=False) as session:
            yield session
            session.commit()
            acts: list[Callable[[], None]] = session.info.pop(_AFTER_COMMIT, [])
        for act in acts:
            act()

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()


def _json(content: Any) -> str:
    # NaN is no JSON: stored, it would break every answer that shows it.
    return json.dumps(content, allow_nan=False)


def after_commit(session: Session, act: Callable[[], None]) -> None:
    """Registers `act` to run once the session's transaction is durable; a rollback forgets it."""
    session.info.setdefault(_AFTER_COMMIT, []).append(act)


def _configure_sqlite(connection: Any, _entry: ConnectionPoolEntry) -> None:
    # The driver's own implicit BEGIN would come too late for savepoints; see `_begin_sqlite`.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("loupe_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
