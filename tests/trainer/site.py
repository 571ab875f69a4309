"""A server that listens, for tests of the worker: HTTP, database, store and trust, all real."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from fleet_contract.clock import Clock, SystemClock
from fleet_contract.dataset import DatasetVersion
from fleet_server.app import create_app
from fleet_server.config import RunsConfig, ServerConfig
from fleet_server.db.engine import Database
from fleet_server.db.migrate import upgrade
from fleet_server.labels.service import add_dataset
from fleet_server.registry.service import put_line, set_dataset
from fleet_server.releases import service as releases
from fleet_server.releases.models import Release
from fleet_server.runs import service as runs
from fleet_server.runs.models import TrainingRun
from fleet_server.services import Services
from fleet_server.store import Store as ServerStore
from fleet_server.trust import setup as trust
from tests.support.recorder import Recorder
from tests.support.wait import eventually
from trainer.api import Api
from trainer.build import Built
from trainer.data.store import Store, objects_of
from trainer.worker import Work, Worker, build

PATIENCE_S = 150.0


@dataclass
class Site:
    """A server that listens, and what a test asks of it."""

    services: Services
    address: str

    @property
    def key(self) -> bytes:
        """The pipeline's signing key, PEM."""
        return (self.services.config.folder / "offline" / trust.PIPELINE).read_bytes()

    def fill(self, store: Store, version: DatasetVersion) -> None:
        """The version becomes its line's dataset, with all of its files."""
        with httpx.Client(base_url=f"{self.address}/api/v1", timeout=PATIENCE_S) as http:
            for name in {name for item in version.items for name in objects_of(item)}:
                http.put(f"/blobs/{name}", content=store.get(name)).raise_for_status()
        with self.services.database.write() as session:
            put_line(session, 1.0, "test", version.line, training_config="", policy={})
            row = add_dataset(session, self.services.store, 1.0, "test", version)
            set_dataset(session, 1.0, "test", version.line, row.digest)

    def queue(self, line: str, config: str) -> str:
        """Queues a run of that configuration; returns its id."""
        with self.services.database.write() as session:
            put_line(session, 1.0, "test", line, training_config=config, policy={})
            return runs.queue_run(session, self.services.clock.time(), "test", line).id

    def run(self, run_id: str) -> TrainingRun:
        """The run as it stands."""
        with self.services.database.read() as session:
            return runs.find_run(session, run_id)

    def log(self, run_id: str) -> list[str]:
        """The run's log."""
        with self.services.database.read() as session:
            return [line.text for line in runs.logs(session, run_id)]

    def release(self, digest: str) -> Release:
        """The release as it stands."""
        with self.services.database.read() as session:
            return releases.find_release(session, digest)

    def releases(self) -> list[str]:
        """Digests of all releases."""
        with self.services.database.read() as session:
            return [release.digest for release in releases.list_releases(session)]


@contextmanager
def serve_site(folder: Path, clock: Clock, lease: str) -> Iterator[Site]:
    """A server in `folder`, empty but for its keys; `lease` is that of its runs, such as `2s`."""
    config = ServerConfig(folder=folder, runs=RunsConfig.model_validate({"lease": lease}))
    trust.create(folder, clock=clock)
    database = Database(config.database_url)
    upgrade(database)
    services = Services(
        config=config, database=database, store=ServerStore(folder / "store"), publisher=Recorder(),
        trust=trust.open_repositories(folder, clock=clock), clock=clock,
    )  # fmt: skip
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(services), port=0, log_level="warning", timeout_graceful_shutdown=2
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, PATIENCE_S, "the server listens")
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Site(services, f"http://127.0.0.1:{port}")
    finally:
        services.bus.close()
        server.should_exit = True
        thread.join(10)
        database.close()


@dataclass
class Hand:
    """A worker in a thread."""

    worker: Worker
    thread: threading.Thread

    def end(self) -> None:
        """Stops the worker and waits for it."""
        self.worker.stop.set()
        self.join()

    def join(self) -> None:
        """Waits for the worker to end."""
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


class Hands:
    """Starts workers with the pipeline's key; a fixture ends what a test leaves running."""

    def __init__(self) -> None:
        self._started: list[Hand] = []

    def start(
        self,
        site: Site,
        folder: Path,
        *,
        once: bool = True,
        name: str = "hand-1",
        make: Callable[[Work], Built] = build,
    ) -> Hand:
        """A worker, started."""
        worker = Worker(Api(site.address), Store(folder), site.key, name, SystemClock(),
                        threading.Event(), poll_s=0.05, checkpoint_s=0.05, build=make)  # fmt: skip
        hand = Hand(worker, threading.Thread(target=worker.run, kwargs={"once": once}))
        hand.thread.start()
        self._started.append(hand)
        return hand

    def end(self) -> None:
        """Ends all."""
        for hand in self._started:
            hand.end()
