"""A network camera for tests, in a process of its own: JPEG after JPEG over HTTP, on one port.

    python mjpeg_peer.py PORT FOLDER [nolength]

It sends the files of FOLDER in the order of their names, over and over, 50 a second.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PICTURES = [path.read_bytes() for path in sorted(Path(sys.argv[2]).glob("*.jpg"))]
WITH_LENGTH = "nolength" not in sys.argv


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/stream?quality=9":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        number = 0
        while True:
            jpeg = PICTURES[number % len(PICTURES)]
            length = b"Content-Length: %d\r\n" % len(jpeg) if WITH_LENGTH else b""
            head = b"--frame\r\nContent-Type: image/jpeg\r\n" + length
            self.wfile.write(head + b"\r\n" + jpeg + b"\r\n")
            number += 1
            time.sleep(0.02)

    def log_message(self, *words: Any) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away."""


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
