"""The audit log: appended only, and a change shows."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from fleet_server.audit.service import entries, record, verify
from fleet_server.services import Services


def fill(services: Services, count: int = 5) -> None:
    with services.database.write() as session:
        for n in range(count):
            record(session, float(n), "ann", "device.add", f"station-{n}", {"n": n, "ü": [1.5]})


def run(services: Services, statement: str) -> None:
    with services.database.write() as session:
        session.connection().execute(text(statement))


def test_the_chain_holds(services: Services) -> None:
    fill(services)
    with services.database.read() as session:
        found = verify(session)
        assert (found.whole, found.entries, found.broken_at) == (True, 5, None)
        assert found.head == entries(session)[0].hash
        assert [e.subject for e in entries(session, subject="station-2")] == ["station-2"]


def test_the_database_refuses_to_change_or_delete_an_entry(services: Services) -> None:
    fill(services)
    for statement in ("UPDATE auditentry SET actor = 'bob'", "DELETE FROM auditentry"):
        with pytest.raises(DatabaseError, match="append-only"):
            run(services, statement)


@pytest.mark.parametrize(
    "change",
    ["UPDATE auditentry SET actor = 'bob' WHERE seq = 3", "DELETE FROM auditentry WHERE seq = 2"],
)
def test_a_change_behind_the_database_back_is_found(services: Services, change: str) -> None:
    fill(services)
    run(services, "DROP TRIGGER auditentry_no_update")
    run(services, "DROP TRIGGER auditentry_no_delete")
    run(services, change)
    with services.database.read() as session:
        found = verify(session)
    assert (found.whole, found.broken_at) == (False, 3)
