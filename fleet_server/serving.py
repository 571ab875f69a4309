"""The running server: HTTP, ingest and controllers in one process."""

import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from fleet_contract.errors import ResourceError, StateError
from fleet_server.app import Lifespan, create_app
from fleet_server.config import ServerConfig, read_config
from fleet_server.controllers import Controllers, Tick, core_ticks
from fleet_server.db.engine import Database
from fleet_server.db.migrate import upgrade
from fleet_server.distribution.service import Distribution
from fleet_server.link.client import MqttPublisher
from fleet_server.link.publisher import Publisher
from fleet_server.link.service import Link
from fleet_server.rollouts.controller import Controller
from fleet_server.services import Services
from fleet_server.store import Store
from fleet_server.trust.setup import open_repositories

log = logging.getLogger(__name__)

_GRACE_S = 3


def open_services(config: ServerConfig, publisher: Publisher) -> Services:
    """Everything that the server works with, from its folder; the database is brought up to date."""
    database = Database(config.database_url)
    upgrade(database)
    return Services(
        config=config,
        database=database,
        store=Store(config.folder / "store"),
        publisher=publisher,
        trust=open_repositories(config.folder),
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ResourceError where the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ResourceError(
            f"port {port} of {host} cannot be used",
            found=error.strerror or str(error),
            remedy="Another program has it, perhaps another Loupe server; stop it, or set "
            "http.port in server.toml.",
        ) from error
    return listener


def serve(folder: Path, announce: Callable[[str], None]) -> None:
    """Runs the server in `folder` until SIGINT or SIGTERM; `announce` gets its address.

    Raises ConfigError, StateError and ResourceError for what a person has to mend first.
    """
    config = read_config(folder)
    if not (folder / "pki" / "server.crt").is_file():
        raise StateError(
            f"{folder} is not a complete server folder", remedy=f"`loupe-server init {folder}`"
        )
    listener = listen(config.http.host, config.http.port)
    try:
        publisher = MqttPublisher(config.broker, config.folder / "pki")
        services = open_services(config, publisher)
        services.trust.check()  # a damaged repository is said before anything starts
        app = create_app(services, _running(services, Link(services, publisher)))
        _serve(app, listener, announce)
    finally:
        listener.close()


def _running(services: Services, link: Link) -> Lifespan:
    rollouts, distribution = Controller(services), Distribution(services)
    link.on_request(distribution.handle)
    ticks = [*core_ticks(services), Tick("rollouts", 1.0, rollouts.tick)]
    controllers = Controllers(services, ticks)
    # On a thread of its own: a broadcast takes as long as its bundle is large.
    pushes = Controllers(services, [Tick("distribution", 0.2, distribution.tick)])

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        link.start()
        rollouts.start()
        controllers.start()
        pushes.start()
        try:
            yield
        finally:
            distribution.stop()
            pushes.stop()
            controllers.stop()
            link.stop()
            services.database.close()

    return lifespan


class _Server(uvicorn.Server):
    """Ends open event streams as soon as it is told to stop, not after the grace period."""

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._on_exit()
        super().handle_exit(sig, frame)


def _serve(app: FastAPI, listener: socket.socket, announce: Callable[[str], None]) -> None:
    services: Services = app.state.services
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE_S
    )
    host, port = listener.getsockname()[:2]
    announce(f"http://{host}:{port}")
    # uvicorn raises the signal again once it has shut down; by then it means nothing more.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _Server(config, services.bus.close).run(sockets=[listener])
