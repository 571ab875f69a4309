"""A real HTTP server around an application, for tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from fleet_server.serving import listen
from tests.support.wait import eventually


@contextmanager
def serve(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of `app`, served on a free port of 127.0.0.1; paths are below /api/v1/."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    eventually(lambda: server.started, 20, "the server has started")
    base = f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1/"
    try:
        with httpx.Client(base_url=base, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
