"""The limit of the link's rate, on a real broker: bytes that arrive, by a clock that is turned by hand."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_agent.config import LinkConfig
from edge_agent.link import Link, Listeners
from edge_agent.sending import Sender
from fleet_contract.clock import ManualClock
from fleet_contract.topics import parse
from tests.support.broker import TestBroker
from tests.support.client import Peer
from tests.support.sim_station import Station
from tests.support.wait import eventually

RATE = 20_000
DEVICE = "station-rate"
LARGEST = 64 * 2**10
"""One message may overdraw the limit."""


class Scene:
    """A device's connection and sender on a real broker, and a server that only counts."""

    def __init__(self, folder: Path, broker: TestBroker, max_rate: str | None) -> None:
        certificate, key = broker.credentials(DEVICE)
        config = LinkConfig.model_validate(
            {"port": broker.port, "ca": broker.ca, "cert": certificate, "key": key}
            | ({"max_rate": max_rate} if max_rate else {})
        )
        # The certificates are of now.
        self.clock = ManualClock(time.time())
        nobody = Listeners(
            lambda: None, lambda _: None, lambda _: None, lambda _: None, lambda: None
        )
        self.link = Link(DEVICE, config, nobody, self.clock)
        self.connection = self.link.connection
        self.station = Station(folder, limit=10**7, rate=1.0)
        self.sender = Sender(DEVICE, 1e6, self.connection, self.station.spool, self.clock)
        self.server = Peer(broker, "server").connect()
        self.server.subscribe(f"loupe/v1/dev/{DEVICE}/up/#")
        self.link.start()
        eventually(lambda: self.connection.online, 10, "the device is connected")

    def send(self) -> None:
        """All that may be sent at this time of the clock, until the broker has confirmed it."""
        while True:
            sent = self.sender.step()
            eventually(lambda: self.connection.unconfirmed == 0, 10, "the broker confirms")
            if not sent:
                return

    def all_arrived(self) -> None:
        """Waits for the end of what was sent: a message of the server's own behind it."""
        count = len(self.server.received)
        self.connection.publish("heartbeat", b"")
        eventually(lambda: len(self.server.received) > count, 10, "the server hears it")

    @property
    def names(self) -> list[str]:
        """Of the topics of what arrived, in order, but for the connection's own."""
        names = [parse(topic).name for topic, _ in list(self.server.received)]
        return [name for name in names if name not in ("link", "heartbeat")]

    @property
    def arrived(self) -> int:
        """Payload bytes, but for the connection's own."""
        received = list(self.server.received)
        return sum(len(data) for topic, data in received if parse(topic).name != "link")

    def close(self) -> None:
        """Ends what was started."""
        self.link.stop()
        self.server.drop()
        self.station.db.close()


@pytest.fixture
def make(tmp_path: Path, broker: TestBroker) -> Iterator[Callable[[str | None], Scene]]:
    """Makes a scene with that `max_rate`."""
    with ExitStack() as stack:

        def made(max_rate: str | None) -> Scene:
            scene = Scene(tmp_path, broker, max_rate)
            stack.callback(scene.close)
            return scene

        yield made


def fill(station: Station) -> None:
    """Samples first, events last, so that their order on the wire is not that of their making."""
    for _ in range(4):
        station.sample()
    for _ in range(3):
        station.parts()
        station.window()
    station.event()


def test_no_more_arrives_than_the_rate_allows_and_images_come_last(
    make: Callable[[str | None], Scene],
) -> None:
    scene = make("20kB/s")
    fill(scene.station)
    seconds = 0
    while scene.names.count("samples") < 4 * 4:
        scene.send()
        scene.all_arrived()
        assert scene.arrived <= RATE * (seconds + 1) + LARGEST
        seconds += 1
        assert seconds < 60, "everything arrives"
        scene.clock.advance(1)
    assert scene.names[0] == "events"
    assert set(scene.names[scene.names.index("samples") :]) == {"samples"}
    assert seconds >= (scene.arrived - LARGEST) // RATE - 1, "the limit was reached"


def test_state_and_events_pass_while_the_rate_is_overdrawn(
    make: Callable[[str | None], Scene],
) -> None:
    scene = make("20kB/s")
    fill(scene.station)
    scene.send()
    assert not scene.connection.may_send
    assert scene.connection.publish("state", b"{}")
    scene.station.event()
    scene.station.window()
    before = scene.names.count("windows")
    scene.send()
    eventually(lambda: scene.names[-2:] == ["state", "events"], 10, "both arrive")
    # The broker retains no such state for tests that come after.
    assert scene.connection.publish("state", b"")
    eventually(lambda: scene.names[-1:] == ["state"], 10, "it is cleared")
    assert scene.names.count("windows") == before, "all else waits"


def test_without_a_limit_everything_arrives_at_once(
    make: Callable[[str | None], Scene],
) -> None:
    scene = make(None)
    fill(scene.station)
    scene.send()
    eventually(lambda: scene.names.count("samples") == 4 * 4, 10, "all images")
