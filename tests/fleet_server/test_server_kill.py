"""The server killed amid ingest: what it acknowledged is there, and nothing is there twice."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fleet_contract.messages import Ack, Stream
from fleet_contract.topics import build
from fleet_server.broker import start_broker
from fleet_server.cli.server import add, init
from tests.support.broker import free_port
from tests.support.telemetry import envelope, parts, record
from tests.support.wait import eventually

NAME, BATCHES, SIZE = "station-1", 120, 8
RUN = "from fleet_server.cli.server import main; main()"


class Station:
    """A device that sends what is not acknowledged, over and over, as an agent does."""

    def __init__(self, files: Path, port: int) -> None:
        self.acknowledged = 0
        self._sent_at = 0.0
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=NAME, protocol=mqtt.MQTTv311
        )
        self._client.tls_set(
            ca_certs=str(files / "ca.crt"),
            certfile=str(files / "device.crt"),
            keyfile=str(files / "device.key"),
        )
        self._client.on_message = self._message
        self._client.connect("localhost", port)
        self._client.loop_start()
        eventually(self._client.is_connected, 10, "the station is connected")
        self._client.subscribe(build("ack", device=NAME), qos=1)

    def send(self, through: int) -> None:
        """Every batch up to `through` that is not acknowledged; at most every 0.3 s."""
        if time.monotonic() - self._sent_at < 0.3:
            return
        self._sent_at = time.monotonic()
        for n in range(self.acknowledged + 1, through + 1):
            body = record(n, parts((n - 1) * SIZE + 1, n * SIZE))
            sent = envelope(NAME, Stream.PARTS, [body])
            self._client.publish(build("parts", device=NAME), sent.encode(), qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        ack = Ack.decode(bytes(message.payload))
        self.acknowledged = max(self.acknowledged, ack.streams.get(Stream.PARTS, 0))


class Server:
    """A server process that can be killed and started again."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self._process = self._start()

    def kill(self) -> None:
        """At once, without a goodbye."""
        self._process.kill()
        self._process.communicate()

    def restart(self) -> None:
        self.kill()
        self._process = self._start()

    def summary(self) -> list[dict[str, object]]:
        """What the server counts."""
        url = f"http://127.0.0.1:{self._port}/api/v1/parts/summary"
        found: list[dict[str, object]] = httpx.get(url, trust_env=False).json()
        return found

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", RUN, "run", "--dir", str(self._folder)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Loupe server listens")
        return process


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Server, Station]]:
    """A server, its broker and one station."""
    folder, files = tmp_path / "server", tmp_path / "station"
    http_port, broker_port = free_port(), free_port()
    init(folder, http_port, broker_port)
    add(NAME, folder, files)
    broker = start_broker(folder / "broker" / "mosquitto.conf")
    server, station = Server(folder, http_port), Station(files, broker_port)
    yield server, station
    station.close()
    server.kill()
    broker.stop()


def test_a_server_that_is_killed_loses_nothing_and_counts_nothing_twice(
    place: tuple[Server, Station],
) -> None:
    server, station = place
    for part in (1, 2):
        through = BATCHES * part // 3
        before = station.acknowledged

        def arrives(through: int = through, before: int = before) -> bool:
            station.send(through)
            return station.acknowledged > before

        eventually(arrives, 20, "something is acknowledged")
        # Amid what was sent: some of it is stored, some is on its way.
        server.restart()

    def done() -> bool:
        station.send(BATCHES)
        return station.acknowledged == BATCHES

    eventually(done, 30, "everything is acknowledged")
    (row,) = server.summary()
    assert (row["counted"], row["missing"], row["duplicates"]) == (BATCHES * SIZE, 0, 0)
