"""The status page: read-only, from the standard library, on loopback unless set otherwise.

    /              the page              /state.json    what it shows, for programs
    /frame.jpg     the next frame        /snapshot.png  it, its heat map and its verdict
    /parts/N.jpg   a part kept lately    /parts/N-heat.jpg   under its heat map
    /metrics       Prometheus text

Pictures are encoded when somebody asks, by one thread at a time.
"""

import ipaddress
import json
import logging
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from edge_agent.box import metrics, picture
from edge_agent.box.client import ADDRESS
from edge_agent.box.lately import Seen
from edge_agent.box.view import View
from fleet_contract.errors import ResourceError

log = logging.getLogger(__name__)

_PAGE = Path(__file__).with_name("page.html")
_PART = re.compile(r"/parts/(\d{1,15})(-heat)?\.jpg")
_NEXT_FRAME_S = 1.0
_IDLE_S = 10.0
_POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"

Answer = tuple[int, str, bytes]
"""Status, content type, body."""


class Box:
    """Binds at once, answers from `start` to `close`."""

    def __init__(self, address: str, view: View, folder: Path) -> None:
        """`folder` gets a file with the address. Raises ResourceError where it cannot be taken."""
        host, port = address.rsplit(":", 1)
        try:
            self._server = _Server((host, int(port)), _Handler)
        except (OSError, OverflowError) as error:
            raise ResourceError(
                f"the status page's address {address} cannot be taken: {error}",
                remedy="Set another one in [box].",
            ) from error
        self._server.pages = Pages(view)
        self.address = f"{host}:{self._server.server_address[1]}"
        self._file = folder / ADDRESS
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="box", daemon=True
        )

    def start(self) -> None:
        """Begins to answer."""
        try:
            self._file.write_text(self.address, "ascii")
        except OSError as error:
            log.warning("the status page's address cannot be noted: %s", error)
        self._thread.start()
        log.info("status page at http://%s/", self.address)

    def close(self) -> None:
        """No more answers."""
        self._file.unlink(missing_ok=True)
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(5)
        self._server.server_close()


class Pages:
    """What stands at each path. Thread-safe."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._encoding = threading.Lock()
        self._paths: dict[str, Callable[[], Answer]] = {
            "/": lambda: (200, "text/html; charset=utf-8", _PAGE.read_bytes()),
            "/state.json": lambda: (200, "application/json", json.dumps(view.state()).encode()),
            "/metrics": self._metrics,
            "/frame.jpg": self._frame,
            "/snapshot.png": self._snapshot,
        }

    def at(self, path: str) -> Answer:
        """The answer to GET `path`."""
        path = path.split("?")[0]
        page = self._paths.get(path)
        if page is not None:
            return page()
        match = _PART.fullmatch(path)
        if match is not None:
            return self._part(int(match[1]), heat=match[2] is not None)
        return 404, "text/plain", b"there is no such page\n"

    def _metrics(self) -> Answer:
        text = metrics.render(self._view.samples())
        return 200, "text/plain; version=0.0.4; charset=utf-8", text.encode()

    def _frame(self) -> Answer:
        seen = self._view.lately.whole(_NEXT_FRAME_S)
        return self._jpeg(seen, heat=False)

    def _part(self, number: int, *, heat: bool) -> Answer:
        return self._jpeg(self._view.lately.find(number), heat=heat)

    def _jpeg(self, seen: Seen | None, *, heat: bool) -> Answer:
        if seen is None or seen.picture is None:
            return 404, "text/plain", b"there is no picture\n"
        with self._encoding:
            return 200, "image/jpeg", picture.jpeg(seen, heat=heat)

    def _snapshot(self) -> Answer:
        seen = self._view.lately.whole(_NEXT_FRAME_S)
        if seen is None or seen.picture is None:
            return 404, "text/plain", b"no part with a frame was seen yet\n"
        with self._encoding:
            return 200, "image/png", picture.snapshot(seen)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    pages: Pages

    def server_bind(self) -> None:
        # A host that is an IPv6 address would need a socket of that family.
        if ":" in str(self.server_address[0]):
            self.address_family = socket.AF_INET6
        super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("the status page's client %s went away: %s", client_address, request)


class _Handler(BaseHTTPRequestHandler):
    timeout = _IDLE_S
    server: _Server

    def do_GET(self) -> None:
        if not _is_local_name(self.headers.get("Host", "")):
            # A page elsewhere that gave its own name this machine's address must not look in.
            self._send((403, "text/plain", b"ask by the machine's address or localhost\n"))
            return
        self._send(self.server.pages.at(self.path))

    def _send(self, answer: Answer) -> None:
        status, kind, body = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("status page: " + format, *args)


def _is_local_name(host: str) -> bool:
    name = host.rsplit(":", 1)[0].strip("[]")
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
