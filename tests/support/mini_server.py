"""The server's side of the wire for tests of the agent: stores, acknowledges, answers requests.

Trust is real: both TUF repositories, signed with their keys. Only the database is a dictionary.
"""

import ssl
import threading
import time
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from fleet_contract import blocks, topics
from fleet_contract.clock import SystemClock
from fleet_contract.messages import (
    Ack,
    Command,
    Desired,
    DeviceState,
    Envelope,
    EventBody,
    Heartbeat,
    LinkStatus,
    PartsBody,
    PartVerdict,
    Record,
    Request,
    ResponseHead,
    SampleBody,
    SignedState,
    Stream,
)
from fleet_contract.trust.approve import sign_release
from fleet_contract.trust.custom import Assignment, Encoding, ImageCustom, target_name
from fleet_contract.trust.keys import load_signer
from fleet_contract.windows import Window
from fleet_server.trust import setup
from fleet_server.trust.director import Assigned
from tests.support.broker import TestBroker

BLOCK_SIZE = 4096


class MiniServer:
    """One fleet server on a broker; `silent` keeps it from acknowledging and answering."""

    def __init__(self, broker: TestBroker, folder: Path) -> None:
        self.folder, self._broker = folder, broker
        self.clock = SystemClock()
        setup.create(folder, clock=self.clock)
        self._repositories = setup.open_repositories(folder, clock=self.clock)
        self.records: dict[tuple[str, str, Stream], dict[int, Record]] = {}
        self.duplicates = 0
        self._arrived: list[tuple[float, tuple[str, str, Stream], Record]] = []
        self.images: dict[str, dict[int, bytes]] = {}
        self.states: dict[str, list[DeviceState]] = {}
        self.links: list[tuple[str, LinkStatus]] = []
        self.heartbeats: list[Heartbeat] = []
        self.requests: list[Request] = []
        self.encodings: dict[str, bytes] = {}
        self.silent = False
        self.broadcasting = True
        self.corrupt: dict[int, bytes] = {}
        """Block index -> bytes that are sent instead, by broadcast and in answers."""
        self._lengths: dict[str, int] = {}
        self._lock = threading.RLock()
        self._client = self._make_client()

    def _make_client(self) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, client_id="server", protocol=MQTTv311)
        certificate, key = self._broker.credentials("server")
        client.tls_set(
            ca_certs=str(self._broker.ca), certfile=str(certificate), keyfile=str(key),
            cert_reqs=ssl.CERT_REQUIRED,
        )  # fmt: skip
        client.on_connect = lambda c, *_: c.subscribe("loupe/v1/dev/+/up/#", 1)
        client.on_message = self._on_message
        client.reconnect_delay_set(1, 2)
        return client

    def start(self) -> None:
        self._client.connect(self._broker.host, self._broker.port, keepalive=10)
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    # Releases.

    def roots(self) -> tuple[bytes, bytes]:
        """First roots of image and director repository."""
        return setup.newest_roots(self.folder)

    def publish(self, digest: str, archive: bytes, *, line: str = "watch-case", epoch: int = 1,
                hardware: str = "*") -> None:  # fmt: skip
        """Encodes, signs with both keys, publishes in the image repository."""
        encoded = blocks.compress(archive)
        hashes = blocks.hash_list(encoded, BLOCK_SIZE)
        encoding = Encoding(
            kind="zstd", digest=blocks.sha256(encoded), length=len(encoded),
            block_size=BLOCK_SIZE, hashes_digest=blocks.sha256(hashes),
        )  # fmt: skip
        custom = ImageCustom(line=line, epoch=epoch, hardware=[hardware], encodings=[encoding])
        draft = self._repositories.image.draft(digest, len(archive), custom)
        for name in (setup.PIPELINE, setup.APPROVER):
            pem = (self.folder / "offline" / name).read_bytes()
            keyid, sig = sign_release(
                draft, target=target_name(line, digest), signer=load_signer(pem)
            )
            draft = self._repositories.image.add_signature(draft, keyid, sig)
        self._repositories.image.publish(draft)
        self.encodings[encoding.digest] = encoded
        self._lengths[digest] = len(archive)

    def assign(self, device: str, digest: str, *, slot: str = "active", rollout: str = "r1",
               attempt: int = 1, line: str = "watch-case",
               share_permille: int | None = None) -> None:  # fmt: skip
        """A new version of the device's director metadata, and the hint."""
        fields = {"line": line, "slot": slot, "rollout": rollout, "attempt": attempt,
                  "share_permille": share_permille}  # fmt: skip
        entry = Assigned(digest, self._lengths[digest], Assignment.model_validate(fields))
        version = self._repositories.director.assign(device, [entry])
        self._publish("desired", Desired(director_version=version).encode(), device=device)

    def command(self, device: str, **fields: Any) -> None:
        """Sends a command."""
        self._publish("cmd", Command.model_validate(fields).encode(), device=device)

    def rewind(self, at_s: float, before_s: float) -> None:
        """Knows again what it knew at `at_s`, from what had come until `before_s` (UTC epoch)."""
        with self._lock:
            self._arrived = [one for one in self._arrived if one[0] <= before_s]
            self.records = {key: {} for key in self.records}
            for arrived_s, key, record in self._arrived:
                if arrived_s <= at_s:
                    self.records[key][record.number] = record

    # What came.

    def stored(self, device: str, stream: Stream) -> list[Record]:
        """All records of a stream, over the device's spools, by number."""
        with self._lock:
            groups = [
                r for (name, _, s), r in self.records.items() if (name, s) == (device, stream)
            ]
            return [group[number] for group in groups for number in sorted(group)]

    def verdicts(self, device: str) -> list[PartVerdict]:
        """Every stored verdict in order of arrival in the spool."""
        bodies = [r.body for r in self.stored(device, Stream.PARTS) if r.body]
        return [v for body in bodies for v in PartsBody.model_validate(body).verdicts]

    def windows(self, device: str) -> list[Window]:
        """Every stored window."""
        return [
            Window.model_validate(r.body) for r in self.stored(device, Stream.WINDOWS) if r.body
        ]

    def events(self, device: str, kind: str = "") -> list[EventBody]:
        """Stored events, of one kind where given."""
        bodies = [r.body for r in self.stored(device, Stream.EVENTS) if r.body]
        events = [EventBody.model_validate(body) for body in bodies]
        return [event for event in events if kind in ("", event.kind)]

    def steps(self, device: str, digest: str) -> list[str]:
        """States of the updates to `digest`, in order."""
        return [str(e.data["state"]) for e in self.events(device, "update") if e.digest == digest]

    def samples(self, device: str) -> list[SampleBody]:
        """Stored samples whose images are complete."""
        return [
            SampleBody.model_validate(r.body) for r in self.stored(device, Stream.SAMPLES) if r.body
        ]

    def state(self, device: str) -> DeviceState | None:
        """The last state that was reported."""
        states = self.states.get(device)
        return states[-1] if states else None

    # The wire.

    def _publish(self, name: str, payload: bytes, **levels: str | int) -> None:
        row = topics.BY_NAME[name]
        self._client.publish(topics.build(name, **levels), payload, row.qos, row.retain)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if self.silent:
            return
        address, payload = topics.parse(message.topic), bytes(message.payload)
        with self._lock:
            if address.name in ("windows", "parts", "events"):
                self._store(Envelope.decode(payload))
            elif address.name == "samples":
                self._sample(address, payload)
            elif address.name == "req":
                self._answer(address, Request.decode(payload))
            elif address.name == "state":
                state = DeviceState.decode(SignedState.decode(payload).payload.encode())
                self.states.setdefault(address.device, []).append(state)
            elif address.name == "heartbeat":
                self.heartbeats.append(Heartbeat.decode(payload))
            elif address.name == "link":
                status = LinkStatus.decode(payload)
                self.links.append((address.device, status))
                if status.online:
                    self._ack_all(address.device)

    def _store(self, envelope: Envelope) -> None:
        key = (envelope.device, envelope.spool_id, envelope.stream)
        group = self.records.setdefault(key, {})
        for record in envelope.records:
            if record.number in group:
                self.duplicates += 1
            else:
                group[record.number] = record
                self._arrived.append((time.time(), key, record))
        self._ack(envelope.device, envelope.spool_id)

    def _sample(self, address: topics.Address, payload: bytes) -> None:
        parts = self.images.setdefault(address.id, {})
        parts[address.n] = payload
        if 0 not in parts:
            return
        envelope = Envelope.decode(parts[0])
        body = envelope.records[0].body
        if body is not None:
            sample = SampleBody.model_validate(body)
            image = b"".join(parts.get(n, b"") for n in range(1, sample.blocks + 1))
            if blocks.sha256(image) != sample.sha256:
                return
        self._store(envelope)

    def _ack_all(self, device: str) -> None:
        for spool in {key[1] for key in self.records if key[0] == device}:
            self._ack(device, spool)

    def _ack(self, device: str, spool: str) -> None:
        streams = {}
        for (name, id_, stream), group in self.records.items():
            if (name, id_) == (device, spool):
                number = 0
                while number + 1 in group:
                    number = group[number + 1].through
                streams[stream] = number
        self._publish("ack", Ack(spool_id=spool, streams=streams).encode(), device=device)

    def _answer(self, address: topics.Address, request: Request) -> None:
        self.requests.append(request)
        data: bytes | None = b""
        encoded = self.encodings.get(request.digest or "")
        if request.op == "metadata":
            data = self._repositories.serve(address.device, request.path)
        elif encoded is None:
            data = None
        elif request.op == "hashes":
            data = blocks.hash_list(encoded, BLOCK_SIZE)
        elif request.op == "blocks":
            data = b"".join(self._block(encoded, index) for index in request.blocks)
        self._respond(address, data)
        if request.op == "join" and encoded is not None and self.broadcasting:
            self._broadcast(request.digest or "", encoded)

    def _block(self, encoded: bytes, index: int) -> bytes:
        return self.corrupt.get(index, blocks.block(encoded, index, BLOCK_SIZE))

    def _respond(self, address: topics.Address, data: bytes | None) -> None:
        content = data or b""
        count = blocks.block_count(len(content), topics.BLOCK_LIMIT)
        head = ResponseHead(status=404 if data is None else 200, length=len(content), blocks=count)
        levels = {"device": address.device, "id": address.id}
        self._publish("res", head.encode(), **levels, n=0)
        for index in range(count):
            part = blocks.block(content, index, topics.BLOCK_LIMIT)
            self._publish("res", part, **levels, n=index + 1)

    def _broadcast(self, digest: str, encoded: bytes) -> None:
        for index in range(blocks.block_count(len(encoded), BLOCK_SIZE)):
            self._publish("bundle", self._block(encoded, index), digest=digest, n=index)
