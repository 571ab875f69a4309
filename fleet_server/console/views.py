"""The console on the server's application: `install(app)` is all that the application calls."""

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from fleet_server.console import audit, live
from fleet_server.console.render import STATIC

ROUTERS = (audit.router, live.router)


def install(app: FastAPI) -> None:
    """Adds the pages, their live events and their files to `app`."""
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
