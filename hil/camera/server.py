"""The camera as a process: both ports, the line, and a clean end."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import typer

from hil.camera.bench import BenchHandler
from hil.camera.camera import Camera, CameraSpec
from hil.camera.ports import CameraHTTPServer, listen
from hil.camera.public import PublicHandler


@dataclass(frozen=True)
class Ports:
    """Where a running camera listens."""

    host: str
    port: int
    bench_port: int

    @property
    def url(self) -> str:
        """Base address of the public port."""
        return f"http://{self.host}:{self.port}"

    @property
    def bench_url(self) -> str:
        """Base address of the bench port."""
        return f"http://{self.host}:{self.bench_port}"


@contextmanager
def serving(
    spec: CameraSpec, host: str = "127.0.0.1", port: int = 0, bench_port: int = 0
) -> Iterator[Ports]:
    """Run a camera in threads of this process while the block lasts.

    Raises ResourceError where a port cannot be had; nothing is left running then.
    """
    camera = Camera(spec)
    with (
        listen(host, port, PublicHandler, camera) as public,
        listen(host, bench_port, BenchHandler, camera) as bench,
    ):
        camera.start()
        threads = [_serve(public), _serve(bench)]
        try:
            yield Ports(host, public.server_port, bench.server_port)
        finally:
            camera.stop()
            for server, thread in zip((public, bench), threads, strict=True):
                server.shutdown()
                thread.join()


def _serve(server: CameraHTTPServer) -> threading.Thread:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    return thread


def run(spec: CameraSpec, host: str, port: int, bench_port: int) -> None:
    """Serve until SIGTERM or SIGINT, having said on stdout, in one JSON line, where."""
    told = _end_signals()
    cv2.setNumThreads(1)  # one part is small: splitting it over cores costs more than it gives
    with serving(spec, host, port, bench_port) as ports:
        line = {"event": "listening", "port": ports.port, "bench_port": ports.bench_port}
        typer.echo(json.dumps(line))
        os.read(told, 1)


def _end_signals() -> int:
    """A file descriptor that becomes readable at SIGTERM or SIGINT.

    Not a handler that sets an Event: it can run while its own thread holds the Event's lock, and
    then waits for itself. Not `sigwait`: libraries have threads from before, which would take the
    signal and end the process.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    return told
