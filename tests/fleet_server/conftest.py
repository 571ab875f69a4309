"""A server without HTTP and MQTT: its folder, database, store and trust repositories, all real."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_contract.clock import ManualClock
from fleet_server.config import ServerConfig
from fleet_server.db.engine import Database
from fleet_server.db.migrate import upgrade
from fleet_server.services import Services
from fleet_server.store import Store
from fleet_server.trust import setup as trust
from tests.support.recorder import Recorder


@pytest.fixture
def clock() -> ManualClock:
    """Time that a test turns by hand."""
    return ManualClock()


@pytest.fixture
def services(tmp_path: Path, clock: ManualClock) -> Iterator[Services]:
    """Services over a folder of their own; what they publish is kept by a `Recorder`."""
    folder = tmp_path / "server"
    config = ServerConfig(folder=folder)
    folder.mkdir()
    trust.create(folder, clock=clock)
    database = Database(config.database_url)
    upgrade(database)
    yield Services(
        config=config,
        database=database,
        store=Store(folder / "store"),
        publisher=Recorder(),
        trust=trust.open_repositories(folder, clock=clock),
        clock=clock,
    )
    database.close()
