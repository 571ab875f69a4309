"""A program of the line as the trigger: `POST /triggers`, answered with the part's number.

The body is empty, or JSON: `{"part": "SN-1", "recipe": "steel"}`, both words optional.
"""

import json

from edge_agent.http_port import Answer, HttpPort, Request, refusal
from edge_agent.trigger.base import Fire, checked_signal
from fleet_contract.clock import Clock
from fleet_contract.errors import DataError

PATH = "/triggers"
_MOST_BYTES = 10_000


class HttpTrigger:
    """Binds at once. Raises ResourceError where the port is taken."""

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        self._clock = clock
        self._fire: Fire | None = None
        self._port = HttpPort(host, port, PATH, _MOST_BYTES, self._take)

    @property
    def port(self) -> int:
        """The port that was taken."""
        return self._port.port

    def start(self, fire: Fire) -> None:
        self._fire = fire
        self._port.start()

    def close(self) -> None:
        self._port.close()

    def _take(self, request: Request) -> Answer:
        assert self._fire is not None
        at_s = self._clock.monotonic()
        try:
            external_id, recipe = words(request.body)
            signal = checked_signal(at_s, external_id, recipe)
        except DataError as error:
            return refusal(400, str(error))
        return Answer(202, {"part": self._fire(signal)})


def words(body: bytes) -> tuple[str, str]:
    """Part id and recipe of a message; empty where it has none. Raises DataError."""
    if not body.strip():
        return "", ""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict) or not set(content) <= {"part", "recipe"}:
        raise DataError(
            "the trigger is not understood", expected='nothing, or {"part": ..., "recipe": ...}',
            found=repr(body[:80]),
        )  # fmt: skip
    part, recipe = content.get("part", ""), content.get("recipe", "")
    if not isinstance(part, str) or not isinstance(recipe, str):
        raise DataError("the trigger is not understood", expected="part and recipe as strings")
    return part, recipe
