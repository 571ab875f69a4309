"""The database: one schema, one writer at a time, nothing after a rollback."""

import importlib
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import select

from fleet_contract.errors import StateError
from fleet_server.db.engine import Database, after_commit
from fleet_server.db.migrate import heads, revision, upgrade
from fleet_server.db.models import metadata
from fleet_server.drift.models import DriftState
from fleet_server.registry.models import Line
from fleet_server.runs.models import TrainingRun
from fleet_server.services import Services

recipes = importlib.import_module("fleet_server.db.migrations.versions.0005_recipes")
_EARLIER_RUN = """
    INSERT INTO trainingrun (id, line, state, dataset, config, epoch, requested_by, created_at, attempts,
        cancel_requested, progress, message, comparison, metrics, error)
    VALUES ('r1', 'line', 'failed', 'd', '', 1, 'ann', 0, 1, 0, 0, '', '{}', '{}', '')
"""


def test_the_migrations_make_exactly_the_tables_of_the_models(services: Services) -> None:
    with services.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_there_is_one_head_and_upgrading_again_changes_nothing(services: Services) -> None:
    assert len(heads()) == 1
    upgrade(services.database)
    assert revision(services.database) == heads()[0]


def test_rows_of_an_earlier_version_stay_usable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'earlier.db'}")
    upgrade(database, "0002_releases")
    with database.write() as session:
        session.connection().execute(text(_EARLIER_RUN))
    upgrade(database)
    with database.read() as session:
        run = session.exec(select(TrainingRun)).one()
    assert (run.id, run.causes, run.checkpoint, run.checkpoint_bytes) == ("r1", [], None, 0)
    database.close()


_EARLIER_STATE = """
    INSERT INTO driftstate (device, line, camera, features, collected, score_values, updated_at)
    VALUES ('station-1', 'line', 'cam-1', '{"mean": [1, 2, 3]}', '[]', '[]', 7)
"""


def test_what_was_learned_before_there_were_recipes_is_of_lines_without_one(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'earlier.db'}")
    upgrade(database, "0004_shares")
    with database.write() as session:
        session.connection().execute(text(_EARLIER_STATE))
    upgrade(database)
    with database.read() as session:
        state = session.get(DriftState, ("station-1", "line", "cam-1", ""))
        assert state is not None
        assert (state.features, state.updated_at) == ({"mean": [1, 2, 3]}, 7)
    with database.engine.begin() as connection:
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            recipes.downgrade()
            recipes.upgrade()
    with database.read() as session:
        assert session.get(DriftState, ("station-1", "line", "cam-1", "")) is not None
    database.close()


def test_a_schema_of_a_later_version_is_said(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'later.db'}")
    upgrade(database)
    with database.write() as session:
        session.connection().execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StateError, match="does not know"):
        upgrade(database)


def test_writers_of_two_processes_wait_for_each_other(services: Services) -> None:
    other = Database(services.database.url)

    def write(database: Database, prefix: str) -> None:
        for n in range(40):
            with database.write() as session:
                session.add(Line(name=f"{prefix}-{n}"))

    threads = [
        threading.Thread(target=write, args=(database, prefix))
        for database, prefix in ((services.database, "a"), (services.database, "b"), (other, "c"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with services.database.read() as session:
        assert len(session.exec(select(Line)).all()) == 120
    other.close()


def test_acts_after_a_commit_run_once_it_is_durable(services: Services) -> None:
    seen: list[int] = []

    def look() -> None:
        with services.database.read() as session:
            seen.append(len(session.exec(select(Line)).all()))

    with services.database.write() as session:
        session.add(Line(name="a"))
        after_commit(session, look)
        assert not seen
    assert seen == [1]


def test_a_rollback_forgets_rows_and_acts(services: Services) -> None:
    acts: list[str] = []

    def fail() -> None:
        with services.database.write() as session:
            session.add(Line(name="a"))
            after_commit(session, lambda: acts.append("told"))
            raise StateError("no")

    with pytest.raises(StateError):
        fail()
    with services.database.read() as session:
        assert session.exec(select(Line)).all() == []
    assert acts == []
