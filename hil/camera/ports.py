"""HTTP as both ports speak it: keep-alive, JSON answers, errors as {"error": ...}."""

import errno
import json
import socketserver
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

from fleet_contract.errors import ConfigError, ResourceError
from hil.camera.camera import Camera

MAX_BODY: Final = 64 * 1024
IDLE_S: Final = 120.0  # how long a silent connection is kept


class CameraHTTPServer(ThreadingHTTPServer):
    """A server whose handlers reach the camera; connections die with the process."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], handler: type["CameraHandler"], camera: Camera
    ) -> None:
        self.camera = camera
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without asking the name service for the host's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away while it waits for a frame is nothing to report."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class CameraHandler(BaseHTTPRequestHandler):
    """What the handlers of the two ports share."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go out apart; do not hold back the second
    timeout = IDLE_S
    server: CameraHTTPServer

    @property
    def camera(self) -> Camera:
        """The camera that this port belongs to."""
        return self.server.camera

    def log_message(self, format: str, *args: object) -> None:
        """Frames are asked for many times a second: requests are not logged."""

    def split(self) -> tuple[str, dict[str, str]]:
        """Path and query of the request; the last of a repeated key counts."""
        parts = urlsplit(self.path)
        return parts.path, {key: values[-1] for key, values in parse_qs(parts.query).items()}

    def answer(
        self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send one answer."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_json(self, status: int, value: object) -> None:
        """Send one JSON answer."""
        self.answer(status, json.dumps(value).encode(), "application/json")

    def read_json(self) -> dict[str, object]:
        """The request's body, a JSON object. Raises ConfigError."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            raise ConfigError(
                "the body's length is wrong", expected=f"0 to {MAX_BODY} bytes", found=length
            )
        try:
            value = json.loads(self.rfile.read(int(length)) or b"{}")
        except ValueError as error:
            raise ConfigError("the body is not JSON", found=str(error)) from error
        if not isinstance(value, dict):
            raise ConfigError("the body is not a JSON object", expected='{"control": value}')
        return value


def integer(query: Mapping[str, str], key: str) -> int:
    """A whole number of the query. Raises ConfigError."""
    text = query.get(key, "")
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(
            f"the query's {key!r} is wrong", expected="a whole number", found=repr(text)
        ) from error


def listen(host: str, port: int, handler: type[CameraHandler], camera: Camera) -> CameraHTTPServer:
    """Open a port (0: any free one). Raises ResourceError where it cannot be had."""
    try:
        return CameraHTTPServer((host, port), handler, camera)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise ResourceError(
            f"port {port} on {host} is in use" if taken else f"cannot listen on {host}:{port}",
            expected="a free port",
            found="" if taken else str(error.strerror),
            remedy="Stop what listens there, or give another port; 0 takes any free one.",
        ) from error
