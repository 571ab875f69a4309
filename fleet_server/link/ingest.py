"""What each message from a device does, within one transaction of many messages.

A message that breaks the contract is counted against its device and changes nothing else.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError, StatementError
from sqlmodel import Session

from fleet_contract.errors import ContractError, DataError, LoupeError
from fleet_contract.messages import (
    Envelope,
    Heartbeat,
    LinkStatus,
    Request,
    SampleBody,
    SignedState,
    Stream,
)
from fleet_contract.topics import Address, check_size, parse
from fleet_server.drift.playbook import incident_for_sample
from fleet_server.labels.images import check_png, decode_heat_map
from fleet_server.labels.service import add_sample
from fleet_server.link.assembly import Assemblies
from fleet_server.link.publisher import RequestHandler
from fleet_server.registry import service as registry
from fleet_server.registry.models import Device
from fleet_server.services import Services
from fleet_server.telemetry import service as telemetry
from fleet_server.telemetry.service import parse_body

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One MQTT message."""

    topic: str
    payload: bytes
    retained: bool = False


class Ingest:
    """Takes batches of messages; acknowledges what is durable."""

    def __init__(
        self,
        services: Services,
        assemblies: Assemblies,
        on_request: Callable[[str, str, Request], None],
    ) -> None:
        self._services, self._samples, self._on_request = services, assemblies, on_request
        self.unknown: Counter[str] = Counter()
        """Messages from names that are not registered."""

    def take(self, batch: list[Incoming]) -> None:
        """Handles a batch in one transaction; acknowledgements go out once it is durable."""
        scope = _Scope()
        with self._services.database.write() as session:
            for message in batch:
                self._one(session, message, scope)
            acks = [
                (device, ack)
                for device, spool in sorted(scope.spools)
                if (ack := telemetry.acknowledgement(session, device, spool))
            ]
        for device, ack in acks:
            self._services.publisher.publish("ack", {"device": device}, ack.encode())
        for device, request_id, request in scope.requests:
            self._on_request(device, request_id, request)
        for topic, device in sorted(scope.changed):
            self._services.bus.publish(topic, {"device": device})

    def _one(self, session: Session, message: Incoming, scope: "_Scope") -> None:
        # The broker lets a device publish below its own name alone.
        name = message.topic.split("/")[3]
        device = session.get(Device, name)
        if device is None:
            self._unknown(name)
            return
        try:
            with session.begin_nested():
                address = parse(message.topic)
                check_size(address.name, message.payload)
                _HANDLERS[address.name](self, session, device, address, message.payload, scope)
        except OperationalError:
            raise  # the database's trouble, not the message's: the whole batch waits
        except (LoupeError, StatementError, OverflowError) as error:
            # The savepoint is gone, and with it what the message changed; the count stays.
            session.refresh(device)
            registry.bad_message(session, device, message.topic, str(error), self._now())
            scope.changed.add(("devices", device.name))
            log.warning("%s: %s", message.topic, error)

    def _unknown(self, device: str) -> None:
        self.unknown[device] += 1
        count = self.unknown[device]
        if count & (count - 1) == 0:
            log.warning("%d messages from %s, which is not registered", count, device)

    def _now(self) -> float:
        return self._services.clock.time()

    def _link(
        self, session: Session, device: Device, _: Address, payload: bytes, scope: "_Scope"
    ) -> None:
        online = registry.link_changed(session, device, LinkStatus.decode(payload), self._now())
        if online and device.spool_id:
            scope.spools.add((device.name, device.spool_id))
        scope.changed.add(("devices", device.name))

    def _heartbeat(
        self, session: Session, device: Device, _: Address, payload: bytes, scope: "_Scope"
    ) -> None:
        registry.heartbeat(session, device, Heartbeat.decode(payload), self._now())
        scope.changed.add(("devices", device.name))

    def _state(
        self, session: Session, device: Device, _: Address, payload: bytes, scope: "_Scope"
    ) -> None:
        registry.state_reported(session, device, SignedState.decode(payload), self._now())
        scope.changed.add(("devices", device.name))

    def _records(
        self, session: Session, device: Device, address: Address, payload: bytes, scope: "_Scope"
    ) -> None:
        envelope = self._envelope(session, device, address, payload)
        problems = telemetry.store(session, envelope, self._now())
        for problem in problems:
            registry.bad_message(session, device, address.name, str(problem), self._now())
        device.last_seen = self._now()
        scope.spools.add((device.name, envelope.spool_id))
        scope.changed.add((address.name, device.name))

    def _envelope(
        self, session: Session, device: Device, address: Address, payload: bytes
    ) -> Envelope:
        envelope = Envelope.decode(payload)
        if envelope.device != device.name or envelope.stream != address.name:
            raise ContractError(
                "an envelope names another device or stream than its topic",
                expected=f"{device.name}, {address.name}",
                found=f"{envelope.device}, {envelope.stream}",
            )
        registry.spool_seen(session, device, envelope.spool_id, self._now())
        return envelope

    def _sample(
        self, session: Session, device: Device, address: Address, payload: bytes, scope: "_Scope"
    ) -> None:
        if address.n == 0:
            self._sample_head(session, device, address, payload, scope)
            return
        done = self._samples.add(device.name, address.id, address.n, payload)
        if done is None:
            return
        try:
            check_png(done.first_block)
            self._samples.keep(done, self._services.store)
        finally:
            self._samples.drop(device.name, address.id)
        body, record, now = done.body, done.record, self._now()
        incident = incident_for_sample(session, device.name, body.line, body.why)
        heat_map = self._heat_map(session, device, body)
        add_sample(session, device.name, done.spool_id, record, body, now, incident, heat_map)
        telemetry.advance(session, device.name, done.spool_id, Stream.SAMPLES, record, now)
        scope.spools.add((device.name, done.spool_id))
        scope.changed.add(("samples", device.name))

    def _heat_map(self, session: Session, device: Device, body: SampleBody) -> str | None:
        """Digest of the sample's map, kept; one that is none is counted, and the image stays."""
        if not body.heat_map:
            return None
        try:
            return self._services.store.put(decode_heat_map(body.heat_map))
        except DataError as error:
            registry.bad_message(session, device, "samples", str(error), self._now())
            return None

    def _sample_head(
        self, session: Session, device: Device, address: Address, payload: bytes, scope: "_Scope"
    ) -> None:
        envelope = self._envelope(session, device, address, payload)
        record = envelope.records[0]
        if len(envelope.records) != 1 or (record.body and record.number != record.through):
            raise ContractError("a sample's envelope holds one record")
        at = telemetry.position(session, device.name, envelope.spool_id, Stream.SAMPLES)
        if at.has(record.number) or record.body is None:
            stream, spool = Stream.SAMPLES, envelope.spool_id
            telemetry.advance(session, device.name, spool, stream, record, self._now())
            scope.spools.add((device.name, spool))
            return
        body = parse_body(SampleBody, record.body)
        if body.sample_id != address.id:
            raise ContractError("a sample has another id than its topic", found=body.sample_id)
        if body.length > self._services.config.limits.blob:
            raise ContractError("a sample is too large", found=f"{body.length} bytes")
        self._samples.start(device.name, envelope.spool_id, record, body)

    def _request(
        self, _session: Session, device: Device, address: Address, payload: bytes, scope: "_Scope"
    ) -> None:
        scope.requests.append((device.name, address.id, Request.decode(payload)))


class _Scope:
    """What a batch asks for once it is durable."""

    def __init__(self) -> None:
        self.spools: set[tuple[str, str]] = set()
        self.changed: set[tuple[str, str]] = set()
        self.requests: list[tuple[str, str, Request]] = []


_Handler = Callable[[Ingest, Session, Device, Address, bytes, _Scope], None]

_HANDLERS: dict[str, _Handler] = {
    "link": Ingest._link,
    "heartbeat": Ingest._heartbeat,
    "state": Ingest._state,
    "windows": Ingest._records,
    "parts": Ingest._records,
    "events": Ingest._records,
    "samples": Ingest._sample,
    "req": Ingest._request,
}

__all__ = ["Incoming", "Ingest", "RequestHandler"]
