"""What every part of the server works with, made once at its start."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from fleet_contract.clock import Clock, SystemClock
from fleet_server.bus import Bus
from fleet_server.config import ServerConfig
from fleet_server.db.engine import Database
from fleet_server.link.publisher import Publisher
from fleet_server.store import Store
from fleet_server.trust.setup import TrustRepositories


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Handed to routers as `request.app.state.services`, to controllers as an argument."""

    config: ServerConfig
    database: Database
    store: Store
    publisher: Publisher
    trust: TrustRepositories
    bus: Bus = field(default_factory=Bus)
    clock: Clock = field(default_factory=SystemClock)
    failures: Counter[str] = field(default_factory=Counter)
    """Errors that a thread's outermost edge caught, by thread; shown by /health."""
    expiring: list[str] = field(default_factory=list)
    """Trust metadata that expire soon, one sentence each; shown by /health."""


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
"""Parameter type of routes: `def route(services: ServicesDep)`."""
