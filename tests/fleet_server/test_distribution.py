"""Distribution over a real broker: requests are answered, a wave is broadcast once and measured."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from sqlmodel import select

from fleet_contract.blocks import BlockHashes, decompress
from fleet_contract.messages import Request, ResponseHead
from fleet_contract.topics import build, parse
from fleet_contract.trust.client import NotThere, TrustClient
from fleet_contract.trust.custom import Encoding
from fleet_server.config import BrokerConfig
from fleet_server.distribution.models import Push
from fleet_server.distribution.service import Distribution
from fleet_server.distribution.waves import DEADLINE_S, Wave
from fleet_server.link.client import MqttPublisher
from fleet_server.link.service import Link
from fleet_server.registry.models import Device
from fleet_server.releases.models import Release
from fleet_server.rollouts.controller import Controller
from fleet_server.trust import setup
from tests.support.broker import TestBroker
from tests.support.client import Peer, peer
from tests.support.deploy import Deploy, archive
from tests.support.wait import eventually

PADDING = 300_000
"""Bytes that make a bundle of five blocks."""
DEVICES = ("push-a", "push-b", "push-c")


class Server:
    """The link and the distribution of a bench; the test turns the clock and ticks."""

    def __init__(self, deploy: Deploy, broker: TestBroker) -> None:
        self.deploy = deploy
        self.publisher = MqttPublisher(
            BrokerConfig(host="localhost", port=broker.port), broker.pki.folder
        )
        self.services = replace(deploy.services, publisher=self.publisher)
        self.distribution = Distribution(self.services, wait=lambda _s: None)
        self.link = Link(self.services, self.publisher)
        self.link.on_request(self.distribution.handle)

    def pushes(self) -> list[Push]:
        with self.services.database.read() as session:
            return list(session.exec(select(Push).order_by("id")))


@pytest.fixture
def server(tmp_path: Path, broker: TestBroker) -> Iterator[Server]:
    broker.credentials("server")
    made = Server(Deploy(tmp_path, DEVICES), broker)
    made.link.start()
    eventually(lambda: made.publisher.connected, 10, "the server connects")
    yield made
    made.link.stop()


@pytest.fixture
def stations(broker: TestBroker) -> Iterator[list[Peer]]:
    with ExitStack() as stack:
        peers = [stack.enter_context(peer(broker, name)) for name in DEVICES]
        for name, one in zip(DEVICES, peers, strict=True):
            one.subscribe(f"loupe/v1/dev/{name}/down/res/#", "loupe/v1/all/#")
        yield peers


@pytest.fixture
def encoding(server: Server) -> Encoding:
    """Of a release that all three devices are assigned; it has several blocks."""
    digest = server.deploy.approved(padding=PADDING)
    server.deploy.start(digest)
    with server.services.database.read() as session:
        return Encoding.of(session.get_one(Release, digest).encodings[0])


_KEYS = count()


class Asker:
    """Asks on behalf of one station and waits for the whole answer."""

    def __init__(self, station: Peer, name: str) -> None:
        self.station, self.name = station, name

    def ask(self, request: Request) -> tuple[ResponseHead, bytes]:
        key = f"r{next(_KEYS)}"
        topic = build("req", device=self.name, id=key)
        self.station.publish(topic, request.encode())
        eventually(lambda: self._whole(key), 10, f"an answer to {request.op}")
        return self._head(key), b"".join(self._parts(key)[1:])

    def metadata(self, path: str) -> bytes:
        head, data = self.ask(Request(op="metadata", path=path))
        if head.status == 404:
            raise NotThere(head.error)
        return data

    def _parts(self, key: str) -> list[bytes]:
        found = {}
        for topic, payload in list(self.station.received):
            address = parse(topic)
            if (address.name, address.device, address.id) == ("res", self.name, key):
                found[address.n] = payload
        return [found[n] for n in sorted(found)]

    def _head(self, key: str) -> ResponseHead:
        return ResponseHead.decode(self._parts(key)[0])

    def _whole(self, key: str) -> bool:
        parts = self._parts(key)
        return bool(parts) and len(parts) == self._head(key).blocks + 1


def heard(station: Peer, digest: str) -> dict[int, bytes]:
    """Blocks of the broadcast, by number."""
    parsed = [(parse(topic), payload) for topic, payload in list(station.received)]
    return {a.n: payload for a, payload in parsed if (a.name, a.digest) == ("bundle", digest)}


def has_heard(station: Peer, digest: str, count: int) -> bool:
    return len(heard(station, digest)) == count


def test_a_wave_waits_for_those_who_are_expected_and_not_for_ever() -> None:
    wave = Wave("d", 0.0, frozenset(), first=True).join("a")
    expected = frozenset({"a", "b"})
    assert not wave.due(expected, DEADLINE_S - 0.1)
    assert wave.due(expected, DEADLINE_S)
    assert wave.join("b").due(expected, 0.1)


def test_a_later_wave_of_one_is_not_worth_a_broadcast() -> None:
    late = Wave("d", 0.0, frozenset({"a"}), first=False)
    assert not late.worth_it
    assert late.join("b").worth_it


def test_a_bundle_is_broadcast_once_for_all_that_joined(
    server: Server, stations: list[Peer], encoding: Encoding
) -> None:
    for name, station in zip(DEVICES, stations, strict=True):
        asker = Asker(station, name)
        head, _ = asker.ask(Request(op="join", digest=encoding.digest))
        assert head.status == 200
        server.distribution.tick()
    _, hashes = Asker(stations[0], DEVICES[0]).ask(Request(op="hashes", digest=encoding.digest))
    known = BlockHashes.verified(
        hashes,
        digest=encoding.hashes_digest,
        length=encoding.length,
        block_size=encoding.block_size,
    )
    original = archive(padding=PADDING)
    assert known.count == 5
    for station in stations:
        every = partial(has_heard, station, encoding.digest, known.count)
        eventually(every, 10, "every block")
        blocks = heard(station, encoding.digest)
        assert all(known.right(n, data) for n, data in blocks.items())
        wire = b"".join(blocks[n] for n in sorted(blocks))
        assert decompress(wire, len(original)) == original
    server.distribution.tick()
    [push] = server.pushes()
    assert push.joined == list(DEVICES)
    assert (push.bytes_broadcast, push.bytes_unicast) == (encoding.length, 0)
    assert push.started_at is not None
    assert push.finished_at is not None


def test_devices_that_stay_away_do_not_hold_up_the_others(
    server: Server, stations: list[Peer], encoding: Encoding
) -> None:
    Asker(stations[0], DEVICES[0]).ask(Request(op="join", digest=encoding.digest))
    server.distribution.tick()
    assert heard(stations[0], encoding.digest) == {}
    server.deploy.clock.advance(DEADLINE_S)
    server.distribution.tick()
    eventually(lambda: heard(stations[0], encoding.digest), 10, "the broadcast")


def test_an_offline_device_is_not_waited_for(
    server: Server, stations: list[Peer], encoding: Encoding
) -> None:
    with server.services.database.write() as session:
        for name in DEVICES[1:]:
            device = session.get_one(Device, name)
            device.online = False
            session.add(device)
    Asker(stations[0], DEVICES[0]).ask(Request(op="join", digest=encoding.digest))
    server.distribution.tick()
    eventually(lambda: heard(stations[0], encoding.digest), 10, "the broadcast")


def test_missing_blocks_are_sent_one_by_one_and_counted(
    server: Server, stations: list[Peer], encoding: Encoding
) -> None:
    asker = Asker(stations[1], DEVICES[1])
    head, data = asker.ask(Request(op="blocks", digest=encoding.digest, blocks=[0]))
    assert (head.status, head.length) == (200, len(data))
    server.distribution.tick()
    [push] = server.pushes()
    assert (push.bytes_unicast, push.unicast) == (len(data), {DEVICES[1]: len(data)})


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (Request(op="metadata", path="image/../keys.pem"), 404),
        (Request(op="blocks", digest="f" * 64, blocks=[0]), 404),
        (Request(op="join"), 404),
    ],
)
@pytest.mark.usefixtures("server")
def test_what_is_not_there_is_said(stations: list[Peer], request_: Request, status: int) -> None:
    head, data = Asker(stations[0], DEVICES[0]).ask(request_)
    assert (head.status, data) == (status, b"")
    assert head.error


@pytest.mark.parametrize("wanted", [[], [10_000], list(range(17))])
def test_odd_block_requests_are_refused(
    stations: list[Peer], encoding: Encoding, wanted: list[int]
) -> None:
    asker = Asker(stations[0], DEVICES[0])
    head, _ = asker.ask(Request(op="blocks", digest=encoding.digest, blocks=wanted))
    assert head.status == 404


def test_a_device_verifies_its_assignment_over_the_broker(
    server: Server, stations: list[Peer], encoding: Encoding, tmp_path: Path
) -> None:
    Controller(server.services).tick()
    image_root, director_root = setup.newest_roots(server.deploy.folder)
    client = TrustClient(
        tmp_path / "device",
        image_root=image_root,
        director_root=director_root,
        device=DEVICES[2],
        hardware="x86-64-box",
        clock=server.deploy.clock,
        build_time_s=0.0,
        fetch=Asker(stations[2], DEVICES[2]).metadata,
        epoch_floor=lambda _line: 0,
    )
    [agreed] = client.refresh()
    assert agreed.image.encodings == [encoding]
    assert agreed.assignment.slot == "active"
