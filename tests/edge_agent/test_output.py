"""Each output against its real peer; what a chip would hold, where there is none."""

import http.server
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import StationConfig
from edge_agent.output.base import Outputs
from edge_agent.output.gpio import GpioPeer, levels
from edge_agent.output.http import HttpPeer
from edge_agent.output.jsonl import JsonLines
from edge_agent.output.make import make_files, make_guarded
from edge_agent.output.message import FIELDS
from edge_agent.output.modbus import COILS, OTHER_REASON, REASONS, REGISTERS, ModbusPeer, registers
from edge_agent.output.mqtt import MqttPeer
from edge_agent.output.runner import MessagePeer, MessageRunner, PeerError
from edge_agent.output.signals import ACCEPT, NO_DECISION, REJECT, Signals, Told
from fleet_contract.messages import PartVerdict
from fleet_contract.names import Verdict
from tests.support.broker import free_port
from tests.support.feeder import Feeder
from tests.support.imports import ROOT
from tests.support.plant import Plant
from tests.support.plc import plc
from tests.support.wait import eventually


def verdict(number: int, found: Verdict = Verdict.ACCEPT) -> PartVerdict:
    return PartVerdict(number=number, verdict=found, latency_ms=3.0, time_s=1.7e9)


def told(part: int, found: str = ACCEPT) -> Told:
    return Told(part, found, "", time.monotonic() + 60)


class Mes:
    """An HTTP server that remembers what it took, and refuses on demand."""

    def __init__(self, port: int) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.refuse = 0
        mes = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                refused = mes.refuse > 0
                mes.refuse -= refused
                if not refused:
                    mes.bodies.append(body)
                self.send_response(503 if refused else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class Ran:
    """A runner of messages and the events that it gave."""

    def __init__(self, peer: MessagePeer) -> None:
        self.events: list[str] = []
        self.runner = MessageRunner(peer, lambda text, _severity: self.events.append(text))
        self.runner.start()


def test_a_callback_gets_each_part_in_order_also_where_it_refused_or_was_away() -> None:
    port = free_port()
    ran = Ran(HttpPeer(url=f"http://127.0.0.1:{port}/verdicts", timeout=2))
    ran.runner.tell(told(1))
    ran.runner.tell(told(2, REJECT))
    eventually(lambda: ran.events, 10, "the loss is told")
    mes = Mes(port)
    mes.refuse = 2
    eventually(lambda: len(mes.bodies) == 2, 20, "both parts arrive")
    eventually(lambda: len(ran.events) == 2, 10, "the return is told")
    ran.runner.tell(told(3))
    ran.runner.close(10)
    mes.close()
    assert [(body["part"], body["verdict"]) for body in mes.bodies] == [
        (1, ACCEPT), (2, REJECT), (3, ACCEPT),
    ]  # fmt: skip
    assert "is lost" in ran.events[0]
    assert "is back" in ran.events[1]
    assert ran.runner.failures >= 3


def test_a_callback_that_never_answers_holds_up_nobody() -> None:
    ran = Ran(HttpPeer(url=f"http://127.0.0.1:{free_port()}/", timeout=1))
    for part in range(1100):
        ran.runner.tell(told(part))
    assert ran.runner.dropped == 100
    ran.runner.close(0.1)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    made.start()
    yield made
    made.stop()


def mqtt(port: int) -> MqttPeer:
    return MqttPeer(
        host="127.0.0.1", port=port, topic="plant/line-1", client="loupe-output", ca=None, user="",
        password_file=None, timeout=2,
    )  # fmt: skip


def test_a_plants_broker_hears_each_part_and_whether_the_agent_judges(plant: Plant) -> None:
    ran = Ran(mqtt(plant.port))
    ran.runner.set_ready(True)
    ran.runner.tell(told(7, REJECT))
    eventually(lambda: len(plant.heard) >= 3, 10, "ready and the part")
    assert plant.heard[:2] == [("plant/line-1/ready", b"0"), ("plant/line-1/ready", b"1")]
    topic, payload = plant.heard[2]
    body = json.loads(payload)
    assert (topic, body["part"], body["verdict"]) == ("plant/line-1/verdict", 7, REJECT)
    plant.stop()
    ran.runner.tell(told(8))
    eventually(lambda: ran.events, 10, "the loss is told")
    plant.start()
    eventually(lambda: any(b'"part": 8' in text for _, text in plant.heard), 20, "part 8 arrives")
    assert ("plant/line-1/ready", b"1") in plant.heard[3:], "ready is told anew"
    ran.runner.close(10)


def test_the_broker_says_not_ready_for_a_guard_that_died(plant: Plant, tmp_path: Path) -> None:
    settings = {
        "kind": "mqtt", "host": "127.0.0.1", "port": plant.port, "topic": "plant/line-1",
        "client": "loupe-output", "ca": None, "user": "", "password_file": None, "timeout": 2,
    }  # fmt: skip
    feeder = Feeder(tmp_path, [settings], silence_s=60.0)
    try:
        eventually(lambda: plant.heard[-1:] == [("plant/line-1/ready", b"1")], 20, "ready")
        feeder.send(signal.SIGSTOP)  # so that it does not start another one
        os.kill(feeder.guard, signal.SIGKILL)
        eventually(lambda: plant.heard[-1:] == [("plant/line-1/ready", b"0")], 10, "the last will")
    finally:
        feeder.close()


def test_a_block_that_is_not_there_is_said_with_what_to_look_at() -> None:
    with plc() as made:
        peer = ModbusPeer(
            host="127.0.0.1", port=made.port, unit=1, registers=1000, coils=None, heartbeat=1,
            timeout=1,
        )  # fmt: skip
        peer.open()
        with pytest.raises(PeerError, match="7 registers from 1000"):
            peer.held()
        peer.close()


def test_a_part_number_fills_two_registers() -> None:
    words = registers(Signals(True, REJECT, "camera_gap", 70_000, 3, 9))
    assert words == [9, 1, 2, 5, 1, 4464, 3]
    assert registers(Signals(reason="something new"))[3] == 99


@pytest.mark.parametrize("found", [ACCEPT, REJECT, NO_DECISION])
def test_a_chip_never_holds_accept_and_reject(found: str) -> None:
    held = levels(Signals(True, found, "", 7, 1, 0))
    assert held == {"ready": True, "accept": found == ACCEPT, "reject": found == REJECT}


def test_a_chip_that_is_not_there_is_named() -> None:
    peer = GpioPeer(
        chip="/dev/gpiochip99", ready=None, accept=1, reject=2, active_low=False, gap=0.01
    )
    with pytest.raises(PeerError, match="may the agent's user open the chip"):
        peer.open()
    assert peer.name == "gpio /dev/gpiochip99"


def test_each_verdict_is_a_line_of_the_file(tmp_path: Path) -> None:
    output = JsonLines(tmp_path / "verdicts.jsonl")
    output.expect(7, 1.0)
    output.act(verdict(7))
    output.act(verdict(8, Verdict.REJECT))
    output.close()
    lines = (tmp_path / "verdicts.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [7, 8]


class Broken:
    """An output that fails."""

    def expect(self, part: int, due_s: float) -> None:
        raise OSError(f"no such gate: {part}, {due_s}")

    def act(self, verdict: PartVerdict) -> None:
        raise OSError(f"no such gate: {verdict.number}")

    def close(self) -> None:
        """Nothing is held."""


def test_an_output_that_fails_does_not_keep_the_others_from_being_told(tmp_path: Path) -> None:
    file = JsonLines(tmp_path / "verdicts.jsonl")
    both = Outputs([Broken(), file])
    with pytest.raises(OSError, match="no such gate"):
        both.act(verdict(7))
    both.close()
    assert (tmp_path / "verdicts.jsonl").read_text().count("\n") == 1


def test_the_configuration_may_name_several_outputs(tmp_path: Path) -> None:
    config = StationConfig.model_validate(
        {
            "device": "station-1", "link": {"port": 8883}, "line": {"name": "watch-case"},
            "source": {"kind": "folder", "path": "images"},
            "outputs": [
                {"kind": "jsonl", "file": tmp_path / "verdicts.jsonl"},
                {"kind": "modbus", "host": "plc", "coils": 16, "hold": "200ms"},
                {"kind": "gpio", "accept": 1, "reject": 2},
                {"kind": "http", "url": "http://mes/verdicts"},
                {"kind": "mqtt", "host": "plant", "topic": "plant/line-1", "ca": "plant-ca.crt"},
            ],
        }
    )  # fmt: skip
    files = make_files(config)
    assert len(files) == 1
    files[0].close()
    assert make_guarded(config, lambda: True, lambda *_: None) is not None


def table(page: str, first: str) -> list[list[str]]:
    """Rows of the Markdown table whose header begins with `first`."""
    lines = iter((ROOT / "docs" / "how-to" / page).read_text().splitlines())
    next(line for line in lines if line.startswith(f"| {first} |"))
    next(lines)
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


def test_the_page_has_the_register_map_of_the_code() -> None:
    for first, names in (("register", REGISTERS), ("coil", COILS)):
        rows = table("connect-a-plc.md", first)
        assert [(row[0], row[1]) for row in rows] == [(f"+{n}", x) for n, x in enumerate(names)]
    codes = {row[1]: int(row[0]) for row in table("connect-a-plc.md", "`reason`")[:-1]}
    assert codes == REASONS
    assert int(table("connect-a-plc.md", "`reason`")[-1][0]) == OTHER_REASON
    text = (ROOT / "docs" / "how-to" / "connect-a-plc.md").read_text()
    assert ", ".join(f"`{name}`" for name in FIELDS) in text
