"""HTTP callback: each verdict as a POST of JSON, in order, again until the other side has it."""

import http.client
from urllib.parse import urlsplit

from edge_agent.output.message import encode
from edge_agent.output.runner import PeerError
from edge_agent.output.signals import Told

_MOST_OF_AN_ANSWER = 65536
_HEADERS = {"Content-Type": "application/json", "Connection": "close"}
# One connection a part: a kept one that the other side closes while the line rests looks like a loss.


class HttpPeer:
    """A server that answers 2xx once it has the part."""

    def __init__(self, *, url: str, timeout: float) -> None:
        parts = urlsplit(url)
        self.name = f"http {parts.netloc}"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        made = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = made(parts.netloc, timeout=timeout)

    def open(self) -> None:
        self.close()
        try:
            self._connection.connect()
        except OSError as error:
            raise PeerError(str(error)) from error
        self.close()

    def tell(self, told: Told) -> None:
        try:
            self._connection.request("POST", self._path, encode(told), _HEADERS)
            answer = self._connection.getresponse()
            answer.read(_MOST_OF_AN_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise PeerError(str(error) or type(error).__name__) from error
        if not 200 <= answer.status < 300:
            raise PeerError(f"it answers {answer.status} {answer.reason}")

    def ready(self, ready: bool) -> None:
        """A callback is told of parts alone."""

    def close(self) -> None:
        self._connection.close()
