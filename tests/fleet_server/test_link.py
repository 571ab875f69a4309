"""Ingest over a real broker: stored once, acknowledged once durable, whatever a device sends."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import select

from fleet_contract.messages import (
    Ack,
    Command,
    DeviceState,
    LineState,
    LinkStatus,
    Request,
    SignedState,
    Stream,
)
from fleet_contract.topics import build
from fleet_contract.trust.signing import sign_state
from fleet_server.config import BrokerConfig
from fleet_server.labels.models import Sample
from fleet_server.link.client import MqttPublisher
from fleet_server.link.publisher import send_command
from fleet_server.link.service import Link
from fleet_server.registry.models import Device
from fleet_server.registry.service import add_device, find_device
from fleet_server.services import Services
from fleet_server.telemetry.models import EventRow, PartsRow
from fleet_server.telemetry.service import parts_summary
from tests.support.broker import TestBroker
from tests.support.client import Peer, peer
from tests.support.telemetry import envelope, event, parts, png, record, sample
from tests.support.wait import eventually

NAME = "link-station"


@pytest.fixture
def server(services: Services, broker: TestBroker) -> Iterator[Services]:
    """A server that takes what comes over the broker, with one device registered."""
    broker.credentials("server")
    publisher = MqttPublisher(BrokerConfig(host="localhost", port=broker.port), broker.pki.folder)
    linked = replace(services, publisher=publisher)
    certificate = broker.credentials(NAME)[0].read_text()
    with linked.database.write() as session:
        add_device(session, 0.0, "test", NAME, certificate)
    link = Link(linked, publisher)
    link.on_request(lambda device, request_id, _: _answer(linked, device, request_id))
    link.start()
    eventually(lambda: publisher.connected, 10, "the server connects")
    yield linked
    link.stop()


def _answer(services: Services, device: str, request_id: str) -> None:
    levels: dict[str, str | int] = {"device": device, "id": request_id, "n": 0}
    services.publisher.publish("res", levels, b"{}")


@pytest.fixture
def station(broker: TestBroker) -> Iterator[Peer]:
    """The device, connected and listening."""
    with peer(broker, NAME) as connected:
        connected.subscribe(f"loupe/v1/dev/{NAME}/down/#")
        yield connected


def _up(name: str, **levels: str | int) -> str:
    return build(name, device=NAME, **levels)


def _acks(station: Peer) -> list[Ack]:
    topic = build("ack", device=NAME)
    return [Ack.decode(payload) for at, payload in station.received if at == topic]


def _heartbeat(value: float) -> bytes:
    names = ("time_s", "uptime_s", "rss_bytes", "cpu_percent", "disk_free_bytes", "parts",
             "parts_per_s", "no_decision", "dropped_frames", "spool_records", "spool_bytes")  # fmt: skip
    return json.dumps({**dict.fromkeys(names, 1), "cpu_percent": value}).encode()


def _acked(station: Peer, stream: Stream, number: int) -> bool:
    return any(ack.streams.get(stream) == number for ack in _acks(station))


def _device(server: Services) -> Device:
    with server.database.read() as session:
        return find_device(session, NAME)


def test_what_comes_twice_is_stored_once_and_acknowledged(server: Services, station: Peer) -> None:
    sent = envelope(NAME, Stream.PARTS, [record(1, parts(1, 8)), record(2, parts(9, 16))])
    for _ in range(3):
        station.publish(_up("parts"), sent.encode())
    eventually(lambda: _acked(station, Stream.PARTS, 2), 10, "two batches are acknowledged")
    with server.database.read() as session:
        assert len(session.exec(select(PartsRow)).all()) == 2
        (_, count) = parts_summary(session, NAME)[NAME, "watch-case", "cam1"]
    assert (count.counted, count.duplicates, count.missing) == (16, 0, [])


def test_a_number_out_of_order_is_kept_and_acknowledged_when_the_hole_is_filled(
    server: Services, station: Peer
) -> None:
    station.publish(_up("events"), envelope(NAME, Stream.EVENTS, [record(3, event("c"))]).encode())
    eventually(lambda: _acked(station, Stream.EVENTS, 0), 10, "nothing contiguous yet")
    gap = record(1, gap_through=2)
    station.publish(_up("events"), envelope(NAME, Stream.EVENTS, [gap]).encode())
    eventually(lambda: _acked(station, Stream.EVENTS, 3), 10, "the hole is filled")
    with server.database.read() as session:
        assert [row.text for row in session.exec(select(EventRow))] == ["c"]


def test_a_hostile_payload_is_counted_and_stops_nothing(server: Services, station: Peer) -> None:
    other = envelope("another", Stream.PARTS, [record(1, parts(1, 2))]).encode()
    huge = envelope(NAME, Stream.EVENTS, [record(2**60, event())]).encode()
    for payload in (b"\xff\x00", b"[" * 50_000, b"{}", other, b"x" * (300 * 1024)):
        station.publish(_up("parts"), payload)
    station.publish(_up("heartbeat"), b'{"time_s": NaN}')
    station.publish(_up("heartbeat"), _heartbeat(float("nan")))
    station.publish(_up("events"), huge)
    station.publish(f"loupe/v1/dev/{NAME}/up/nonsense/x", b"?")
    good = envelope(NAME, Stream.PARTS, [record(1, parts(1, 4))])
    station.publish(_up("parts"), good.encode())
    eventually(lambda: _acked(station, Stream.PARTS, 1), 10, "the good batch is taken")
    assert _device(server).bad_messages == 9
    assert _device(server).heartbeat is None
    assert not server.failures


def test_a_record_with_nan_is_refused_alone(server: Services, station: Peer) -> None:
    odd = event("odd").model_copy(update={"data": {"value": 12345.5}})
    sent = envelope(NAME, Stream.EVENTS, [record(1, odd), record(2, event("fine"))])
    payload = sent.encode().replace(b"12345.5", b"NaN")
    station.publish(_up("events"), payload)
    eventually(lambda: _acked(station, Stream.EVENTS, 2), 10, "both are acknowledged")
    with server.database.read() as session:
        assert [row.text for row in session.exec(select(EventRow))] == ["fine"]


def test_a_record_that_breaks_the_contract_does_not_hold_up_its_stream(
    server: Services, station: Peer
) -> None:
    broken = record(1, event()).model_copy(update={"body": {"kind": "no spaces allowed"}})
    sent = envelope(NAME, Stream.EVENTS, [broken, record(2, event("fine"))])
    station.publish(_up("events"), sent.encode())
    eventually(lambda: _acked(station, Stream.EVENTS, 2), 10, "both are acknowledged")
    assert _device(server).bad_messages == 1


def test_a_sample_in_blocks_is_kept_by_its_digest(server: Services, station: Peer) -> None:
    data = png(1, side=400)
    size = -(-len(data) // 3)
    body = sample("s1", data, blocks=3, why="audit")
    head = envelope(NAME, Stream.SAMPLES, [record(1, body)]).encode()
    blocks = [data[n * size : (n + 1) * size] for n in range(3)]
    station.publish(_up("samples", id="s1", n=2), blocks[1])
    station.publish(_up("samples", id="s1", n=0), head)
    for n in (3, 1, 2, 2):
        station.publish(_up("samples", id="s1", n=n), blocks[n - 1])
    eventually(lambda: _acked(station, Stream.SAMPLES, 1), 10, "the sample is acknowledged")
    with server.database.read() as session:
        kept = session.exec(select(Sample)).one()
    assert server.store.read(kept.blob) == data


@pytest.mark.parametrize("data", [b"not a picture", png(2)])
def test_a_sample_with_wrong_bytes_is_not_acknowledged(
    server: Services, station: Peer, data: bytes
) -> None:
    body = sample("s2", data, why="audit").model_copy(update={"sha256": "0" * 64})
    if not data.startswith(b"\x89PNG"):
        body = sample("s2", data, why="audit")
    sent = envelope(NAME, Stream.SAMPLES, [record(1, body)])
    station.publish(_up("samples", id="s2", n=0), sent.encode())
    station.publish(_up("samples", id="s2", n=1), data)
    eventually(lambda: _device(server).bad_messages == 1, 10, "it is counted")
    with server.database.read() as session:
        assert not session.exec(select(Sample)).all()
    assert not _acked(station, Stream.SAMPLES, 1)


@pytest.mark.parametrize("sound", [True, False])
def test_a_heat_map_is_kept_and_one_that_is_none_costs_the_image_nothing(
    server: Services, station: Peer, sound: bool
) -> None:
    data, heat = png(side=64), png(1, side=8)
    text = base64.b64encode(heat if sound else b"no picture").decode()
    body = sample("s1", data, why="reject", heat_map=text)
    sent = envelope(NAME, Stream.SAMPLES, [record(1, body)])
    station.publish(_up("samples", id="s1", n=0), sent.encode())
    station.publish(_up("samples", id="s1", n=1), data)
    eventually(lambda: _acked(station, Stream.SAMPLES, 1), 10, "the sample is acknowledged")
    with server.database.read() as session:
        [stored] = session.exec(select(Sample)).all()
    kept = server.store.read(stored.heat_map) if stored.heat_map else None
    assert kept == (heat if sound else None)
    assert _device(server).bad_messages == (0 if sound else 1)


def test_only_the_last_connection_says_that_a_device_is_gone(
    server: Services, station: Peer
) -> None:
    def link(online: bool, connection: str) -> None:
        status = LinkStatus(online=online, connection_id=connection, time_s=1.0)
        station.publish(_up("link"), status.encode(), retain=True)

    link(True, "first")
    link(True, "second")
    link(False, "first")
    station.publish(_up("events"), envelope(NAME, Stream.EVENTS, [record(1, event())]).encode())
    eventually(lambda: _acked(station, Stream.EVENTS, 1), 10, "all is taken")
    assert _device(server).online
    before = len(_acks(station))
    link(True, "third")
    eventually(lambda: len(_acks(station)) > before, 10, "told again after a reconnect")
    link(False, "third")
    eventually(lambda: not _device(server).online, 10, "the device is gone")


def test_a_signed_state_is_believed_and_a_replay_is_not(
    server: Services, station: Peer, broker: TestBroker
) -> None:
    key = serialization.load_pem_private_key(broker.credentials(NAME)[1].read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    def signed(counter: int) -> SignedState:
        state = DeviceState(
            device=NAME,
            counter=counter,
            boot_id="boot",
            spool_id="spool-1",
            agent_version="0.1.0",
            hardware="x86-64-box",
            runtime="onnx/int8",
            time_s=1.0,
            lines={"watch-case": LineState(inspecting=True)},
        )
        return sign_state(state, key)

    old, new = signed(4), signed(5)
    station.publish(_up("state"), new.encode())
    station.publish(_up("state"), new.encode())
    eventually(lambda: _device(server).last_state_counter == 5, 10, "the state is taken")
    assert (_device(server).line, _device(server).bad_messages) == ("watch-case", 0)
    station.publish(_up("state"), old.encode())
    forged = new.model_copy(update={"payload": new.payload.replace('"counter":5', '"counter":9')})
    station.publish(_up("state"), forged.encode())
    eventually(lambda: _device(server).bad_messages == 2, 10, "both are refused")
    assert _device(server).last_state_counter == 5


def test_two_spools_that_take_turns_are_a_clone(server: Services, station: Peer) -> None:
    def says(spool: str, number: int) -> None:
        sent = envelope(NAME, Stream.EVENTS, [record(number, event())], spool_id=spool)
        station.publish(_up("events"), sent.encode())
        eventually(lambda: any(a.spool_id == spool for a in _acks(station)), 10, spool)

    says("spool-a", 1)
    says("spool-b", 1)
    assert _device(server).clone_since is None
    says("spool-a", 2)
    eventually(lambda: _device(server).clone_since is not None, 10, "the clone is seen")
    with server.database.read() as session:
        kinds = {row.kind for row in session.exec(select(EventRow))}
    assert "clone" in kinds


def test_requests_are_answered_and_commands_arrive(server: Services, station: Peer) -> None:
    station.publish(_up("req", id="r1"), Request(op="join", digest="b" * 64).encode())
    send_command(server.publisher, NAME, Command(id="c1", op="sample", count=3))
    wanted = {build("res", device=NAME, id="r1", n=0), build("cmd", device=NAME)}
    eventually(lambda: wanted <= {topic for topic, _ in station.received}, 10, "both arrive")


def test_a_broker_that_comes_back_finds_the_server_listening(
    services: Services, fresh_broker: TestBroker
) -> None:
    fresh_broker.credentials("server")
    config = BrokerConfig(host="localhost", port=fresh_broker.port)
    publisher = MqttPublisher(config, fresh_broker.pki.folder)
    linked = replace(services, publisher=publisher)
    with linked.database.write() as session:
        add_device(session, 0.0, "test", NAME, fresh_broker.credentials(NAME)[0].read_text())
    fresh_broker.stop()
    link = Link(linked, publisher)
    link.start()
    try:
        fresh_broker.start()
        eventually(lambda: publisher.connected, 20, "the server connects")
        with peer(fresh_broker, NAME) as station:
            station.subscribe(f"loupe/v1/dev/{NAME}/down/#")
            sent = envelope(NAME, Stream.EVENTS, [record(1, event())]).encode()

            def acknowledged() -> bool:
                station.publish(_up("events"), sent)
                return _acked(station, Stream.EVENTS, 1)

            eventually(acknowledged, 10, "the event is acknowledged")
    finally:
        link.stop()
