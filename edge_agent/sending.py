"""Which record goes next: live before backlog, verdicts before images, within the limits of the link.

One message a step, so that each is chosen anew by what is there then:

1. events, windows and verdicts as they come, the newest ahead of a backlog;
2. the backlog of each, oldest first;
3. images, block by block.

Live events wait for nothing. All else waits while the rate limit is overdrawn, and backlog and images
also while the broker has not confirmed `BULK_BYTES`: on a slow link, what is handed over later would
wait behind them. The synchronous half of `uplink`: records in, messages out, no thread.
"""

import random
from dataclasses import dataclass
from typing import Protocol

from edge_agent.link_rules import Budget, InFlight
from edge_agent.spool import NO_NUMBER, Entry, Spool
from fleet_contract.blocks import block
from fleet_contract.clock import Clock
from fleet_contract.messages import Ack, Envelope, SampleBody, Stream

BULK_BYTES, MESSAGE_BYTES = 256 * 2**10, 60 * 2**10
"""What may wait for the broker before more of a backlog is handed over; and about how much goes into
one message: on a link of 50 kB/s, what is new waits for about six seconds of both at most."""
_BUDGETS = {
    Stream.EVENTS: Budget(200, 50),
    Stream.WINDOWS: Budget(100, 10),
    Stream.PARTS: Budget(100, 20),
    Stream.SAMPLES: Budget(4, 0),
}
"""In the order in which they go."""
_SLOW_S = 1.0
"""A message that takes longer to the broker is not held against the server."""


class Wire(Protocol):
    """The connection, as far as sending needs it."""

    @property
    def online(self) -> bool:
        """Whether the broker has accepted us."""

    @property
    def may_send(self) -> bool:
        """Whether the limit of the link's rate leaves room."""

    def publish(self, name: str, payload: bytes, **levels: str | int) -> bool:
        """Hands a message over; False where there is no connection."""

    @property
    def unconfirmed(self) -> int:
        """Bytes that were handed over and that the broker has not confirmed."""

    def waited_s(self, name: str) -> float:
        """For how long a message of that topic has been waiting for the broker's confirmation."""


class Sender:
    """Not thread-safe."""

    def __init__(
        self, device: str, ack_timeout_s: float, wire: Wire, spool: Spool, clock: Clock
    ) -> None:
        self._device, self._wire, self._spool, self._clock = device, wire, spool, clock
        self._random = random.Random()
        self._flights = {
            stream: InFlight(budget, ack_timeout_s) for stream, budget in _BUDGETS.items()
        }
        for stream, flight in self._flights.items():
            flight.acked = flight.sent = spool.first(stream) - 1
        self._image: _Image | None = None
        self._jitter = self._random.random()

    @property
    def resends(self) -> int:
        """How often a stream was sent again for want of an ack."""
        return sum(flight.resends for flight in self._flights.values())

    def reconnected(self) -> None:
        """What was on its way may be lost: send from the last ack on."""
        self._image = None
        for flight in self._flights.values():
            flight.reset()

    def ack(self, ack: Ack) -> None:
        """The server's word; another spool's is none of ours."""
        if ack.spool_id != self._spool.id:
            return
        now = self._clock.monotonic()
        for stream, contiguous in ack.streams.items():
            if contiguous > self._flights[stream].acked:
                self._spool.ack(stream, contiguous)
        news = [self._flights[stream].ack(number, now) for stream, number in ack.streams.items()]
        if any(news):
            for flight in self._flights.values():
                flight.heard()
        if self._image and self._image.through <= self._flights[Stream.SAMPLES].acked:
            self._image = None

    def step(self) -> bool:
        """Sends one message; False where nothing waits that may be sent now."""
        if not self._wire.online:
            return False
        self._look()
        return self._live() or self._bulk()

    def _look(self) -> None:
        now = self._clock.monotonic()
        for stream, flight in self._flights.items():
            if self._wire.waited_s(stream) > _SLOW_S:
                flight.leaving(now)
            elif flight.overdue(now, self._jitter):
                self._jitter = self._random.random()
                self._image = None if stream is Stream.SAMPLES else self._image
            flight.look(self._spool.last(stream))

    def _live(self) -> bool:
        for stream in (Stream.EVENTS, Stream.WINDOWS, Stream.PARTS):
            if stream is not Stream.EVENTS and not self._wire.may_send:
                return False
            flight = self._flights[stream]
            if self._ahead(stream) if flight.behind else self._in_order(stream):
                return True
        return False

    def _bulk(self) -> bool:
        if not self._wire.may_send or self._wire.unconfirmed >= BULK_BYTES:
            return False
        behind = [stream for stream, flight in self._flights.items() if flight.behind]
        return any(self._in_order(stream) for stream in behind) or self._block()

    def _ahead(self, stream: Stream) -> bool:
        flight = self._flights[stream]
        entries = self._next(stream, flight.ahead_sent, flight.room_ahead)
        if not entries or not self._publish(stream, entries):
            return False
        flight.published_ahead(entries[-1].through, len(entries))
        return True

    def _in_order(self, stream: Stream) -> bool:
        flight = self._flights[stream]
        entries = self._next(stream, flight.sent, flight.room, flight.ahead_from)
        if not entries or not self._publish(stream, entries):
            return False
        flight.published(entries[-1].through, self._clock.monotonic())
        return True

    def _next(self, stream: Stream, after: int, room: int, before: int = 0) -> list[Entry]:
        if room <= 0:
            return []
        return self._spool.pending(stream, after, room, MESSAGE_BYTES, before or NO_NUMBER)

    def _publish(self, stream: Stream, entries: list[Entry]) -> bool:
        return self._wire.publish(stream, self._envelope(stream, entries))

    def _envelope(self, stream: Stream, entries: list[Entry]) -> bytes:
        return Envelope(
            device=self._device,
            spool_id=self._spool.id,
            stream=stream,
            records=[entry.record for entry in entries],
        ).encode()

    # Images.

    def _block(self) -> bool:
        """One block of the image that is on its way, or the first of the next one."""
        flight = self._flights[Stream.SAMPLES]
        self._image = image = self._image or self._next_image(flight)
        if image is None:
            return False
        payload, block_number = image.payload(), image.block
        if not self._wire.publish("samples", payload, id=image.sample_id, n=block_number):
            return False
        image.block += 1
        if image.block > image.blocks:
            self._image = None
            flight.published(image.through, self._clock.monotonic())
        return True

    def _next_image(self, flight: InFlight) -> "_Image | None":
        if flight.room <= 0:
            return None
        entries = self._spool.pending(Stream.SAMPLES, flight.sent, 1, 0)
        if not entries:
            return None
        number, through, record = entries[0].number, entries[0].through, entries[0].record
        head = self._envelope(Stream.SAMPLES, entries)
        if record.body is None:
            return _Image(through, f"gap-{number}", head, 0, b"")
        data = self._spool.image(number)
        if data is None:
            return None  # dropped a moment ago: its gap is next
        sample = SampleBody.model_validate(record.body)
        return _Image(through, sample.sample_id, head, sample.blocks, data)


@dataclass(slots=True)
class _Image:
    """A sample on its way: block 0 is its record, the others its bytes."""

    through: int
    sample_id: str
    head: bytes
    blocks: int
    """Number of the last block, as the record says it."""
    data: bytes
    block: int = 0
    """The next one to send."""

    def payload(self) -> bytes:
        """Of the next block."""
        if not self.block:
            return self.head
        return block(self.data, self.block - 1, -(-len(self.data) // self.blocks))
