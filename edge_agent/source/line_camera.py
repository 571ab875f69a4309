"""A camera over HTTP with numbered triggers and a buffer: `GET /frame?after=N`, a long poll.

Answers 200 with an image and X-Trigger, or 204 where none came; both carry X-Newest, from which a
counter that began anew is known. The camera buffers: an agent that was away asks for what it missed.
"""

import http.client
from typing import Literal
from urllib.parse import urlsplit

from edge_agent.source.base import CameraLost, Captured, CounterRestarted
from fleet_contract.clock import Clock
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import Frame, decode_image

_MAX_IMAGE_BYTES = 64 * 2**20


class LineCamera:
    """One connection, kept; reconnects on the next call after a loss."""

    def __init__(
        self, url: str, channels: int, timeout_s: float, clock: Clock, depth: Literal[8, 16] = 8
    ) -> None:
        host = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(host, timeout=timeout_s)
        self._url, self._channels, self._depth, self._clock = url, channels, depth, clock
        self._after: int | None = None

    def start(self, after: int | None) -> None:
        self._after = after

    def next(self, timeout_s: float) -> Captured | None:  # noqa: ARG002 - the camera's own long poll bounds it
        after = "latest" if self._after is None else str(self._after)
        try:
            self._connection.request("GET", f"/frame?after={after}")
            answer = self._connection.getresponse()
            body = answer.read(_MAX_IMAGE_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise CameraLost(f"{self._url}: {error or type(error).__name__}") from error
        if answer.status not in (200, 204):
            raise CameraLost(f"{self._url} answers {answer.status}: {body[:100]!r}")
        arrival = self._clock.monotonic()
        newest, trigger = _number(answer, "X-Newest"), _number(answer, "X-Trigger")
        if self._after is not None and max(newest, trigger) < self._after:
            raise CounterRestarted(f"newest trigger {newest} after {self._after}")
        if answer.status == 204:
            # From here on no trigger is passed over, also where the first ones come between two polls.
            self._after = newest if self._after is None else self._after
            return None
        self._after = trigger
        return Captured(self._decode(body), trigger, arrival)

    def _decode(self, body: bytes) -> Frame | None:
        try:
            return decode_image(body, self._channels, self._depth)
        except DataError:
            return None

    def close(self) -> None:
        self._connection.close()


def _number(answer: http.client.HTTPResponse, header: str) -> int:
    text = answer.headers.get(header, "0")
    if not text.isdigit():
        raise CameraLost(f"header {header} is no number: {text[:40]!r}")
    return int(text)
