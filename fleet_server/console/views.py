"""The console on the server's application: `install(app)` is all that the application calls."""

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from fleet_server.console import (
    audit,
    datasets,
    drift,
    live,
    overview,
    releases,
    review,
    rollouts,
    runs,
    stations,
)
from fleet_server.console.render import STATIC

ROUTERS = tuple(
    room.router
    for room in (overview, stations, drift, review, datasets, runs, releases, rollouts, audit, live)
)


def install(app: FastAPI) -> None:
    """Adds the pages, their live events and their files to `app`."""
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
