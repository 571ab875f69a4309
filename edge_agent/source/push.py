"""Images that another program sends: `POST /parts` with an encoded image as its body.

`X-Part-Id` and `X-Recipe` may go with it. 202 answers with the part's number; nothing that was
answered so is dropped. 503: too many wait, send it again later. 4xx: no part was made of it.
"""

import threading
from collections import deque
from typing import Literal

from edge_agent.http_port import Answer, HttpPort, Request, refusal
from edge_agent.source.base import Captured
from edge_agent.source.numbers import Numbers
from edge_agent.trigger.base import Signal, checked_signal
from fleet_contract.clock import Clock
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import Frame, decode_image

PATH = "/parts"


class PushSource:
    """Takes images from `start` on."""

    def __init__(
        self,
        host: str,
        port: int,
        clock: Clock,
        *,
        channels: int,
        depth: Literal[8, 16],
        queue: int,
        numbers: Numbers,
        max_image: int,
    ) -> None:
        """Raises ResourceError where the port is taken."""
        self._clock, self._channels, self._depth = clock, channels, depth
        self._queue, self._numbers = queue, numbers
        self._changed = threading.Condition()
        self._waiting: deque[Captured] = deque()
        self._port = HttpPort(host, port, PATH, max_image, self._take)

    @property
    def port(self) -> int:
        """The port that was taken."""
        return self._port.port

    def start(self, after: int | None) -> None:
        self._numbers.begin(after or 0)
        self._port.start()

    def next(self, timeout_s: float) -> Captured | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, timeout_s)
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        self._port.close()
        self._numbers.close()

    def _take(self, request: Request) -> Answer:
        arrival_s = self._clock.monotonic()
        if len(self._waiting) >= self._queue:
            return _full(self._queue)
        headers = request.headers
        try:
            signal = checked_signal(
                arrival_s, headers.get("X-Part-Id", ""), headers.get("X-Recipe", "")
            )
        except DataError as error:
            return refusal(400, str(error))
        try:
            frame = decode_image(request.body, self._channels, self._depth)
        except DataError as error:
            return refusal(415, str(error))
        return self._accept(signal, frame)

    def _accept(self, signal: Signal, frame: Frame) -> Answer:
        with self._changed:
            if len(self._waiting) >= self._queue:
                return _full(self._queue)
            number = self._numbers.next()
            part = Captured(
                frame, number, signal.at_s,
                recipe=signal.recipe, external_id=signal.external_id,
            )  # fmt: skip
            self._waiting.append(part)
            self._changed.notify()
            return Answer(202, {"part": self._numbers.base + number})


def _full(limit: int) -> Answer:
    return refusal(503, f"{limit} images wait already: send it again")
