"""A port for programs of the line: POST requests with a bounded body, answered in JSON.

From the standard library, for a handful of clients on this machine or beside it. Nobody is asked who
they are: whoever reaches the port may use it, but a browser's page may not (it would say its origin).
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fleet_contract.errors import ResourceError

_IDLE_S = 5.0
_MOST_CLIENTS = 32
_MOST_DRAINED = 2**26


@dataclass(frozen=True, slots=True)
class Request:
    """What came."""

    headers: Message
    """Names without regard to case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back, as JSON."""

    status: int
    content: Mapping[str, object]


def refusal(status: int, error: str) -> Answer:
    """An answer that says what is wrong."""
    return Answer(status, {"error": error})


Handle = Callable[[Request], Answer]


class HttpPort:
    """Binds at once, answers from `start` to `close`. `handle` is called by several threads."""

    def __init__(self, host: str, port: int, path: str, limit: int, handle: Handle) -> None:
        """Requests go to `path`, with `limit` bytes at most. Raises ResourceError."""
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            raise ResourceError(
                f"port {port} of {host} cannot be taken: {error}",
                remedy="Choose another port in the station's configuration, or end who holds it.",
            ) from error
        self._server.answering = (path, limit, handle)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="http-port", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that was taken."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def close(self) -> None:
        """Ends all connections and their threads."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.hang_up()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    answering: tuple[str, int, Handle]
    daemon_threads = False
    """So that `server_close` waits for them."""

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._open) >= _MOST_CLIENTS
            self._open.add(request)
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Wakes every thread that waits for its client."""
        with self._lock:
            for one in self._open:
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S

    def do_POST(self) -> None:
        path, limit, handle = self.server.answering
        refused = self._refused(path, limit)
        if refused is not None:
            self._answer(refused)
            self._drain()
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(handle(Request(self.headers, body)))

    def do_GET(self) -> None:
        path, _, _ = self.server.answering
        self._answer(refusal(405, f"expected POST {path}"))

    do_PUT = do_HEAD = do_DELETE = do_GET  # noqa: N815

    def _refused(self, path: str, limit: int) -> Answer | None:
        length = self.headers.get("Content-Length", "")
        if self.path.partition("?")[0] != path:
            return refusal(404, f"expected POST {path}, found {self.path[:80]}")
        if "Origin" in self.headers:
            return refusal(403, "pages in a browser may not use this port")
        if not length.isdecimal():
            return refusal(411, "expected Content-Length, in bytes")
        if int(length) > limit:
            return refusal(413, f"expected at most {limit} bytes, found {length}")
        return None

    def handle_expect_100(self) -> bool:
        path, limit, _ = self.server.answering
        refused = self._refused(path, limit)
        if refused is not None:
            self._answer(refused)
            return False
        return super().handle_expect_100()

    def _answer(self, answer: Answer) -> None:
        body = json.dumps(answer.content).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if answer.status == 503:
            self.send_header("Retry-After", "1")
        if answer.status >= 400 and answer.status != 503:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _drain(self) -> None:
        # A client that still sends would be reset, and never read why.
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        left = _MOST_DRAINED
        while left > 0 and (chunk := self.rfile.read1(2**16)):
            left -= len(chunk)

    def log_message(self, *words: Any) -> None:
        """What matters of it stands in verdicts and events."""
