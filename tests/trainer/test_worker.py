"""The worker against a real server: HTTP, database, store and trust repositories."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

from fleet_contract.archive import read
from fleet_contract.clock import SystemClock
from fleet_contract.errors import DataError, TransferError
from fleet_server.app import create_app
from fleet_server.config import RunsConfig, ServerConfig
from fleet_server.db.engine import Database
from fleet_server.db.migrate import upgrade
from fleet_server.labels.service import add_dataset
from fleet_server.registry.service import put_line, set_champion, set_dataset
from fleet_server.releases import service as releases
from fleet_server.releases.models import Release
from fleet_server.runs import service as runs
from fleet_server.runs.models import TrainingRun
from fleet_server.services import Services
from fleet_server.store import Store as ServerStore
from fleet_server.trust import setup as trust
from tests.support.recorder import Recorder
from tests.support.wait import eventually
from tests.trainer.conftest import CONFIG, LINE, World
from trainer.api import Api, AwayError, patiently
from trainer.data.remote import fetch_version
from trainer.data.store import Store, objects_of
from trainer.worker import Worker

PATIENCE_S = 60.0
ENDLESS = CONFIG.replace("epochs = 30", "epochs = 1000000").replace('"60s"', '"1h"')
UNTRAINED = CONFIG.replace("epochs = 30", "epochs = 1\nwarm_start = false")


@dataclass
class Site:
    """A server that listens, and what a test asks of it."""

    services: Services
    address: str

    def queue(self, config: str) -> str:
        """Queues a run of that configuration; returns its id."""
        with self.services.database.write() as session:
            put_line(session, 1.0, "test", LINE, training_config=config, policy={})
            return runs.queue_run(session, 1.0, "test", LINE).id

    def run(self, run_id: str) -> TrainingRun:
        """The run as it stands."""
        with self.services.database.read() as session:
            return runs.find_run(session, run_id)

    def release(self, digest: str) -> Release:
        """The release as it stands."""
        with self.services.database.read() as session:
            return releases.find_release(session, digest)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[Site]:
    """A server with the data set of `world`, and its bundle as champion."""
    folder = tmp_path_factory.mktemp("server")
    config = ServerConfig(folder=folder, runs=RunsConfig(lease="2s"))
    trust.create(folder, clock=SystemClock())
    database = Database(config.database_url)
    upgrade(database)
    services = Services(
        config=config, database=database, store=ServerStore(folder / "store"), publisher=Recorder(),
        trust=trust.open_repositories(folder, clock=SystemClock()), clock=SystemClock(),
    )  # fmt: skip
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(services), port=0, log_level="warning", timeout_graceful_shutdown=2
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started, 10, "the server listens")
    port = server.servers[0].sockets[0].getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    _fill(services, address, world)
    yield Site(services, address)
    services.bus.close()
    server.should_exit = True
    thread.join(10)
    database.close()


def _fill(services: Services, address: str, world: World) -> None:
    with httpx.Client(base_url=f"{address}/api/v1") as http:
        for name in {name for item in world.version.items for name in objects_of(item)}:
            http.put(f"/blobs/{name}", content=world.store.get(name)).raise_for_status()
    with services.database.write() as session:
        put_line(session, 1.0, "test", LINE, training_config=CONFIG, policy={})
        row = add_dataset(session, services.store, 1.0, "test", world.version)
        set_dataset(session, 1.0, "test", LINE, row.digest)
    releases.submit(services, "test", world.built.archive)
    with services.database.write() as session:
        set_champion(session, 1.0, "test", LINE, world.built.digest)


@dataclass
class Hand:
    """A worker in a thread."""

    worker: Worker
    thread: threading.Thread

    def end(self) -> None:
        """Stops the worker and waits for it."""
        self.worker.stop.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


HANDS: list[Hand] = []


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Whatever a test leaves running is ended with it."""
    yield
    while HANDS:
        HANDS.pop().end()


def start(address: str, services: Services, folder: Path, *, once: bool) -> Hand:
    """A worker with the pipeline's key, started."""
    key = (services.config.folder / "offline" / trust.PIPELINE).read_bytes()
    worker = Worker(Api(address), Store(folder), key, "hand-1", SystemClock(), threading.Event(),
                    poll_s=0.05)  # fmt: skip
    thread = threading.Thread(target=worker.run, kwargs={"once": once})
    thread.start()
    hand = Hand(worker, thread)
    HANDS.append(hand)
    return hand


def test_a_run_becomes_a_release_that_the_pipeline_has_signed(site: Site, tmp_path: Path) -> None:
    run_id = site.queue(CONFIG.replace("threads = 1", "threads = 1\nseed = 5"))
    hand = start(site.address, site.services, tmp_path, once=True)
    hand.thread.join(PATIENCE_S)
    run = site.run(run_id)
    assert (run.state, run.error) == ("succeeded", "")
    assert run.bundle is not None
    assert run.comparison["outcome"] in ("better", "not_worse", "undecided")
    assert run.metrics["image_auroc"] > 0.9
    release = site.release(run.bundle)
    assert (release.run, len(release.signed_by), release.state) == (run_id, 1, "awaiting_approval")
    manifest, _ = read(site.services.store.path(run.bundle).read_bytes())
    assert manifest.lineage.run == run_id
    assert manifest.lineage.parent == run.champion


def test_a_run_that_fails_says_why_and_the_worker_goes_on(site: Site, tmp_path: Path) -> None:
    broken = site.queue('[line]\nname = "discs"\n[train]\ntime_budget = 3\n')
    hand = start(site.address, site.services, tmp_path, once=False)
    eventually(lambda: site.run(broken).state == "failed", PATIENCE_S, "the first run fails")
    untrained = site.queue(UNTRAINED)
    eventually(lambda: site.run(untrained).state == "failed", PATIENCE_S, "the second run fails")
    hand.end()
    assert "train.time_budget" in site.run(broken).error
    assert "golden samples" in site.run(untrained).error
    assert hand.worker.failed == 2


def test_a_cancelled_run_stops(site: Site, tmp_path: Path) -> None:
    run_id = site.queue(ENDLESS)
    hand = start(site.address, site.services, tmp_path, once=True)
    eventually(lambda: site.run(run_id).message.startswith("training"), PATIENCE_S, "it trains")
    with site.services.database.write() as session:
        runs.cancel(session, 1.0, "test", run_id)
    hand.thread.join(PATIENCE_S)
    assert not hand.thread.is_alive()
    assert site.run(run_id).state == "cancelled"


def test_a_run_whose_lease_is_lost_is_dropped(site: Site, tmp_path: Path) -> None:
    run_id = site.queue(ENDLESS)
    hand = start(site.address, site.services, tmp_path, once=True)
    eventually(lambda: site.run(run_id).message.startswith("training"), PATIENCE_S, "it trains")
    with site.services.database.write() as session:
        run = runs.find_run(session, run_id)
        run.worker = "hand-2"
        session.add(run)
    hand.thread.join(PATIENCE_S)
    assert not hand.thread.is_alive()
    assert (site.run(run_id).state, site.run(run_id).worker) == ("leased", "hand-2")
    with site.services.database.write() as session:
        runs.finish(session, 2.0, run_id, "hand-2", runs.Outcome(False, None, {}, {}, "enough"))


def test_a_worker_that_is_told_to_stop_gives_its_run_back_as_failed(
    site: Site, tmp_path: Path
) -> None:
    run_id = site.queue(ENDLESS)
    hand = start(site.address, site.services, tmp_path, once=False)
    eventually(lambda: site.run(run_id).message.startswith("training"), PATIENCE_S, "it trains")
    hand.end()
    assert site.run(run_id).state == "failed"


def test_a_server_that_is_away_is_waited_for() -> None:
    api, asked = Api("http://127.0.0.1:9"), list[float]()

    def wait(seconds: float) -> bool:
        asked.append(seconds)
        return False

    with pytest.raises(AwayError, match="does not answer"):
        patiently(lambda: api.lease("hand-1"), wait, tries=4)
    assert asked == [1.0, 2.0, 4.0]


def test_a_refusal_is_told_with_the_servers_reason(site: Site) -> None:
    with pytest.raises(TransferError, match="no release"):
        Api(site.address).bundle("0" * 64)


def test_only_what_is_missing_is_downloaded(site: Site, world: World, tmp_path: Path) -> None:
    store, ticks = Store(tmp_path), list[int]()

    def tick(_done: int, total: int) -> bool:
        ticks.append(total)
        return False

    known = objects_of(world.version.items[0])
    for name in known:
        store.put(world.store.get(name))
    wanted = {name for item in world.version.items for name in objects_of(item)}
    version = fetch_version(Api(site.address), store, world.version.digest(), tick)
    assert version == world.version
    assert ticks == [len(wanted) - len(known)] * len(ticks)
    assert len(ticks) == len(wanted) - len(known)


class _Liar:
    """A server that sends other bytes than asked for."""

    def __init__(self, world: World) -> None:
        self._world = world

    def dataset(self, digest: str) -> bytes:
        """The right version."""
        assert digest == self._world.version.digest()
        return self._world.version.canonical()

    def blob(self, sha256: str) -> bytes:
        """The wrong bytes."""
        return f"not {sha256}".encode()


def test_other_bytes_than_asked_for_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="other bytes than asked for"):
        fetch_version(_Liar(world), Store(tmp_path), world.version.digest(), lambda _d, _t: False)
    with pytest.raises(DataError, match="no dataset"):
        Store(tmp_path).version(world.version.digest())
