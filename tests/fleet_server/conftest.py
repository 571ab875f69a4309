"""A server without HTTP and MQTT: its folder, database, store and trust repositories, all real."""

import shutil
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


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's folder with its keys and an empty database, made once and copied by `services`."""
    folder = tmp_path_factory.mktemp("made") / "server"
    folder.mkdir()
    trust.create(folder, clock=ManualClock())
    database = Database(ServerConfig(folder=folder).database_url)
    upgrade(database)
    database.close()
    return folder


@pytest.fixture
def services(made_folder: Path, tmp_path: Path, clock: ManualClock) -> Iterator[Services]:
    """Services over a folder of their own; what they publish is kept by a `Recorder`."""
    folder = tmp_path / "server"
    shutil.copytree(made_folder, folder)
    config = ServerConfig(folder=folder)
    database = Database(config.database_url)
    yield Services(
        config=config,
        database=database,
        store=Store(folder / "store"),
        publisher=Recorder(),
        trust=trust.open_repositories(folder, clock=clock),
        clock=clock,
    )
    database.close()
