"""The way to the server, and the server that stores, in simulated time: a `Wire` of the agent's sender."""

from collections import deque
from dataclasses import dataclass

from edge_agent.sending import Sender
from fleet_contract.blocks import sha256
from fleet_contract.clock import ManualClock
from fleet_contract.messages import Ack, Envelope, Record, SampleBody, Stream
from fleet_server.telemetry.rules import Position


@dataclass(frozen=True)
class _Message:
    stream: Stream
    payload: bytes
    id: str
    n: int
    at_s: float


class SimWire:
    """Carries `rate` bytes a second; the server stores what arrives and acknowledges by `acknowledge`."""

    def __init__(self, clock: ManualClock, rate: float) -> None:
        self._clock, self._rate, self._credit = clock, rate, 0.0
        self._queue: deque[_Message] = deque()
        self._images: dict[str, dict[int, bytes]] = {}
        self.online = False
        self.may_send = True
        self.deaf = False
        """What arrives is lost, as when the server is down behind its broker."""
        self.records: dict[Stream, dict[int, Record]] = {stream: {} for stream in Stream}
        """Those with a body, by number."""
        self.gaps: dict[Stream, set[tuple[int, int]]] = {stream: set() for stream in Stream}
        """First and last numbers; one may cover a record that came before it was dropped."""
        self.arrived_s: dict[tuple[Stream, int], float] = {}
        self.positions = dict.fromkeys(Stream, Position())
        self.told = dict.fromkeys(Stream, 0)
        """The last word that the agent has got."""
        self.sent_after_ack: list[tuple[Stream, int]] = []
        self.sent_bytes = 0
        self.spool_id = ""

    # The agent's side.

    def publish(self, name: str, payload: bytes, **levels: str | int) -> bool:
        """Into the queue."""
        if not self.online:
            return False
        message = _Message(
            Stream(name), payload, str(levels.get("id", "")), int(levels.get("n", 0)),
            self._clock.monotonic(),
        )  # fmt: skip
        self._queue.append(message)
        self.sent_bytes += len(payload)
        self._check(message)
        return True

    def _check(self, message: _Message) -> None:
        """Notes a record, or a part of an image, whose number was acknowledged before."""
        if message.n == 0:
            records = Envelope.decode(message.payload).records
            self._images.setdefault(message.id, {})[-1] = message.payload
        else:
            records = Envelope.decode(self._images[message.id][-1]).records
        told = self.told[message.stream]
        self.sent_after_ack += [(message.stream, r.number) for r in records if r.through <= told]

    @property
    def unconfirmed(self) -> int:
        """Bytes in the queue."""
        return sum(len(message.payload) for message in self._queue)

    def waited_s(self, name: str) -> float:
        """Of the oldest one in the queue."""
        since = [message.at_s for message in self._queue if message.stream == name]
        return self._clock.monotonic() - min(since) if since else 0.0

    # The world's side.

    def connect(self, sender: Sender) -> None:
        """The broker accepts."""
        self.online = True
        sender.reconnected()

    def disconnect(self) -> None:
        """What is on its way is lost."""
        self.online = False
        self._queue.clear()
        self._credit = 0.0

    def advance(self, seconds: float) -> None:
        """Time goes on, and what the link carries in it arrives."""
        self._clock.advance(seconds)
        self._credit += seconds * self._rate
        while self._queue and len(self._queue[0].payload) <= self._credit:
            message = self._queue.popleft()
            self._credit -= len(message.payload)
            if not self.deaf:
                self._receive(message)
        if not self._queue:
            self._credit = 0.0

    def acknowledge(self, sender: Sender) -> None:
        """The server's word, as it is now."""
        if not self.online or not self.spool_id:
            return
        self.told = {stream: at.contiguous for stream, at in self.positions.items()}
        sender.ack(Ack(spool_id=self.spool_id, streams=self.told))

    def _receive(self, message: _Message) -> None:
        if message.stream is not Stream.SAMPLES:
            self._store(Envelope.decode(message.payload))
            return
        parts = self._images.setdefault(message.id, {})
        parts[message.n] = message.payload
        if 0 not in parts:
            return
        envelope = Envelope.decode(parts[0])
        if envelope.records[0].body is not None:
            sample = SampleBody.model_validate(envelope.records[0].body)
            image = b"".join(parts.get(n, b"") for n in range(1, sample.blocks + 1))
            if sha256(image) != sample.sha256:
                return
        self._store(envelope)

    def _store(self, envelope: Envelope) -> None:
        self.spool_id, stream = envelope.spool_id, envelope.stream
        for record in envelope.records:
            at = self.positions[stream].add(record.number, record.through)
            assert at is not None, "more intervals than the server keeps"
            self.positions[stream] = at
            if record.body is None:
                self.gaps[stream].add((record.number, record.through))
            else:
                self.records[stream].setdefault(record.number, record)
            self.arrived_s.setdefault((stream, record.number), self._clock.monotonic())
