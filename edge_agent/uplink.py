"""Sends the spool to the server: bounded in flight, sent again until the server's own word covers it."""

import logging
import random
import sqlite3
import threading

from edge_agent.config import LinkConfig
from edge_agent.link import Link
from edge_agent.link_rules import InFlight
from edge_agent.spool import Entry, Spool
from fleet_contract import topics
from fleet_contract.blocks import block, block_count
from fleet_contract.clock import Clock
from fleet_contract.errors import LoupeError
from fleet_contract.messages import Ack, Envelope, SampleBody, Stream

log = logging.getLogger(__name__)

_RECORDS_IN_FLIGHT = {Stream.EVENTS: 200, Stream.PARTS: 100, Stream.WINDOWS: 100, Stream.SAMPLES: 4}
_HEADROOM = 4096
"""Bytes of an envelope's limit that its own fields may take."""


class Uplink:
    """One thread; `ack`, `wake` and `reconnected` are called from others."""

    def __init__(
        self, device: str, config: LinkConfig, link: Link, spool: Spool, clock: Clock
    ) -> None:
        self._device, self._link, self._spool, self._clock = device, link, spool, clock
        self._streams = {stream: InFlight(config.ack_timeout) for stream in _RECORDS_IN_FLIGHT}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._fresh = False
        self._acks: list[Ack] = []
        self._random = random.Random()
        self.thread = threading.Thread(target=self._run, name="uplink", daemon=True)

    def start(self) -> None:
        """Begins to send."""
        self.thread.start()

    def stop(self) -> None:
        """Ends the thread; what is not acknowledged stays in the spool."""
        self._stop.set()
        self._wake.set()
        self.thread.join(timeout=5)

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def reconnected(self) -> None:
        """What was on its way may be lost: send from the last ack on."""
        with self._lock:
            self._fresh = True
        self._wake.set()

    def ack(self, ack: Ack) -> None:
        """The server's word; another spool's is none of ours."""
        if ack.spool_id != self._spool.id:
            return
        with self._lock:
            self._acks.append(ack)
        self._wake.set()

    @property
    def resends(self) -> int:
        """How often a stream was sent again for want of an ack."""
        return sum(flight.resends for flight in self._streams.values())

    def _run(self) -> None:
        for stream, flight in self._streams.items():
            flight.acked = flight.sent = self._spool.first(stream) - 1
        while not self._stop.is_set():
            try:
                self._take_acks()
                if self._link.online:
                    self._send_all()
            except (sqlite3.Error, LoupeError) as error:
                # A full disk, say: nothing is lost, the records and the acks come again.
                log.warning("the spool cannot be sent: %s", error)
                self._stop.wait(1)
            self._wake.wait(0.2)
            self._wake.clear()

    def _take_acks(self) -> None:
        with self._lock:
            acks, self._acks = self._acks, []
        now = self._clock.monotonic()
        for stream, contiguous in [item for ack in acks for item in ack.streams.items()]:
            self._spool.ack(stream, contiguous)
            self._streams[stream].ack(contiguous, now)

    def _send_all(self) -> None:
        now, jitter = self._clock.monotonic(), self._random.random()
        with self._lock:
            fresh, self._fresh = self._fresh, False
        for stream, flight in self._streams.items():
            if fresh:
                flight.reset()
            flight.overdue(now, jitter)
            while not self._stop.is_set() and self._send_some(stream, flight):
                pass

    def _send_some(self, stream: Stream, flight: InFlight) -> bool:
        room = _RECORDS_IN_FLIGHT[stream] - (flight.sent - flight.acked)
        if room <= 0:
            return False
        if stream is Stream.SAMPLES:
            entries = self._spool.pending(stream, flight.sent, 1, 0)
        else:
            limit = topics.BY_NAME[stream].limit - _HEADROOM
            entries = self._spool.pending(stream, flight.sent, min(room, 1000), limit)
        if not entries or not self._publish(stream, entries):
            return False
        flight.published(entries[-1].through, self._clock.monotonic())
        return True

    def _publish(self, stream: Stream, entries: list[Entry]) -> bool:
        envelope = Envelope(
            device=self._device,
            spool_id=self._spool.id,
            stream=stream,
            records=[entry.record for entry in entries],
        )
        if stream is Stream.SAMPLES:
            return self._publish_sample(envelope, entries[0])
        return self._link.publish(stream, envelope.encode())

    def _publish_sample(self, envelope: Envelope, entry: Entry) -> bool:
        if entry.record.body is None:
            return self._link.publish("samples", envelope.encode(), id=f"gap-{entry.number}", n=0)
        body = SampleBody.model_validate(entry.record.body)
        image = self._spool.image(entry.number)
        if image is None:
            return True  # dropped a moment ago; its gap comes with the next round
        size = topics.BLOCK_LIMIT
        sent = self._link.publish("samples", envelope.encode(), id=body.sample_id, n=0)
        for index in range(block_count(len(image), size)):
            sent = sent and self._link.publish(
                "samples", block(image, index, size), id=body.sample_id, n=index + 1
            )
        return sent
