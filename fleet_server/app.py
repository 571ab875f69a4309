"""The HTTP application: routes, guards and problem details around the services."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from fleet_server.audit import api as audit
from fleet_server.console.views import install as install_console
from fleet_server.distribution import api as distribution
from fleet_server.drift import api as drift
from fleet_server.http import PROBLEM, Problem, install_guards, install_problems
from fleet_server.labels import api as labels
from fleet_server.registry import api as registry
from fleet_server.releases import api as releases
from fleet_server.rollouts import api as rollouts
from fleet_server.runs import api as runs
from fleet_server.services import Services, ServicesDep
from fleet_server.telemetry import api as telemetry
from fleet_server.trace import router as trace

API = "/api/v1"
ROUTERS = (
    registry.router, telemetry.router, drift.router, labels.router, runs.router, audit.router,
    releases.router, rollouts.router, distribution.router, trace,
)  # fmt: skip

_ARCHIVE_LIMIT = 512 * 2**20
"""Bytes of the largest body that any route takes; routes set lower limits of their own."""


def _version() -> str:
    try:
        return version("loupe")
    except PackageNotFoundError:
        return "0+source"  # run from a checkout that was never installed


health = APIRouter(tags=["health"])


class Health(BaseModel):
    """Whether everything works."""

    status: str
    """`ok`, or `degraded` while the broker is away or trust metadata are about to expire."""
    version: str
    time_s: float
    broker: bool
    failures: dict[str, int]
    """Errors that were caught at the edge of a thread, since the start."""
    expiring: list[str]
    """Trust metadata that expire soon, and what to do."""


@health.get("/health")
def is_healthy(services: ServicesDep) -> Health:
    """Whether everything works."""
    connected = services.publisher.connected
    return Health(
        status="ok" if connected and not services.expiring else "degraded",
        version=_version(),
        time_s=services.clock.time(),
        broker=connected,
        failures=dict(services.failures),
        expiring=list(services.expiring),
    )


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _nothing(_app: FastAPI) -> AsyncIterator[None]:
    yield


def create_app(services: Services, lifespan: Lifespan = _nothing) -> FastAPI:
    """The application over `services`; `lifespan` starts and stops what runs beside it.

    The interactive documentation is off, because its pages load scripts from elsewhere;
    /openapi.json is there.
    """
    app = FastAPI(
        title="Loupe",
        version=_version(),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={
            "default": {
                "description": "Problem details (RFC 9457)",
                "content": {PROBLEM: {"schema": Problem.model_json_schema()}},
            }
        },
    )
    app.state.services = services
    install_problems(app)
    install_guards(app, _ARCHIVE_LIMIT)
    for router in (*ROUTERS, health):
        app.include_router(router, prefix=API)
    install_console(app)
    return app
