"""Triggers, each against its real peer: every signal is a part, with its words, once."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient

from edge_agent.source.base import FrameCounts
from edge_agent.source.make import make_source
from edge_agent.source.numbers import Numbers
from edge_agent.source.settings import MjpegSource
from edge_agent.trigger.base import Signal, Trigger
from edge_agent.trigger.gpio import signals
from edge_agent.trigger.http import HttpTrigger
from edge_agent.trigger.make import make_trigger
from edge_agent.trigger.modbus import recipe_name
from edge_agent.trigger.settings import GpioTrigger as GpioConfig
from edge_agent.trigger.settings import HttpTrigger as HttpConfig
from edge_agent.trigger.settings import ModbusTrigger as ModbusConfig
from edge_agent.trigger.settings import MqttTrigger as MqttConfig
from fleet_contract.clock import SystemClock
from fleet_contract.errors import ConfigError, ResourceError
from tests.support.broker import free_port
from tests.support.peers import mjpeg_peer, running
from tests.support.plant import Plant
from tests.support.plc import Plc, plc
from tests.support.wait import eventually

SOON: Any = "200ms"
HELLO = "hello"
"""A part that is announced until somebody hears it."""


class Line:
    """What a trigger fired, and what it told."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.told: list[str] = []
        self._trigger: Trigger | None = None

    def start(self, config: HttpConfig | MqttConfig | ModbusConfig | GpioConfig) -> Trigger:
        self._trigger = make_trigger(config, SystemClock(), self._tell)
        self._trigger.start(self._fire)
        return self._trigger

    def _fire(self, signal: Signal) -> int:
        self.signals.append(signal)
        return 40 + len(self.signals)

    def _tell(self, kind: str, text: str, severity: str) -> None:
        assert (kind, severity in ("info", "error")) == ("trigger", True)
        self.told.append(text)

    def fired(self, count: int) -> list[tuple[str, str]]:
        """Waits for as many signals; part and recipe of each."""
        eventually(lambda: len(self._words()) >= count, 10, f"{count} signals")
        return self._words()

    def _words(self) -> list[tuple[str, str]]:
        words = [(signal.external_id, signal.recipe) for signal in self.signals]
        return [pair for pair in words if pair != (HELLO, "")]

    def hears(self, word: str, times: int = 1) -> None:
        eventually(lambda: sum(word in text for text in self.told) == times, 10, word)

    def close(self) -> None:
        if self._trigger is not None:
            self._trigger.close()


@pytest.fixture
def line() -> Iterator[Line]:
    before = set(threading.enumerate())
    made = Line()
    yield made
    made.close()
    assert set(threading.enumerate()) <= before, "a trigger leaves no thread"


# HTTP


def post(port: int, body: str = "") -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/triggers", body)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


def test_a_program_of_the_line_triggers_and_hears_the_parts_number(line: Line) -> None:
    trigger = line.start(HttpConfig(kind="http", port=0))
    assert isinstance(trigger, HttpTrigger)
    assert post(trigger.port) == (202, {"part": 41})
    assert post(trigger.port, '{"part": "SN-1", "recipe": "steel"}') == (202, {"part": 42})
    assert line.fired(2) == [("", ""), ("SN-1", "steel")]


@pytest.mark.parametrize(
    "body", ["SN-1", "[]", '{"id": "SN-1"}', '{"part": 7}', json.dumps({"part": "x" * 81})]
)
def test_a_trigger_that_is_not_understood_is_refused_and_is_no_part(line: Line, body: str) -> None:
    trigger = line.start(HttpConfig(kind="http", port=0))
    assert isinstance(trigger, HttpTrigger)
    status, content = post(trigger.port, body)
    assert (status, "trigger" in content["error"]) == (400, True)
    assert line.signals == []


def test_a_triggers_port_that_is_taken_is_said(line: Line) -> None:
    trigger = line.start(HttpConfig(kind="http", port=0))
    assert isinstance(trigger, HttpTrigger)
    with pytest.raises(ResourceError, match=str(trigger.port)):
        make_trigger(HttpConfig(kind="http", port=trigger.port), SystemClock(), lambda *_: None)


# MQTT


TOPIC = "plant/trigger"


def mqtt(plant: Plant) -> MqttConfig:
    return MqttConfig(kind="mqtt", host="127.0.0.1", port=plant.port, topic=TOPIC)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    made.start()
    yield made
    made.stop()


def until_heard(line: Line, plant: Plant) -> None:
    """Publishes until the subscription stands."""
    before = len(line.signals)

    def heard() -> bool:
        plant.publish(TOPIC, HELLO)
        return len(line.signals) > before

    eventually(heard, 20, "the trigger has subscribed")


def test_each_message_is_a_part_whatever_its_payload(line: Line, plant: Plant) -> None:
    plant.publish(TOPIC, "from long ago", retain=True)
    line.start(mqtt(plant))
    until_heard(line, plant)
    payloads: list[str | bytes] = [
        "",
        "SN-1",
        '{"part": "SN-2", "recipe": "steel"}',
        "12345",
        b"\xff\x00" + b"x" * 99,
    ]
    for payload in payloads:
        plant.publish(TOPIC, payload)
    fired = line.fired(5)
    assert fired[:4] == [("", ""), ("SN-1", ""), ("SN-2", "steel"), ("12345", "")]
    assert len(fired[4][0]) == 80
    assert fired[4][0].isprintable()


def test_a_plants_broker_that_goes_is_told_once_and_found_again(line: Line, plant: Plant) -> None:
    line.start(mqtt(plant))
    until_heard(line, plant)
    plant.stop()
    line.hears("is lost")
    plant.start()
    line.hears("is back")
    until_heard(line, plant)
    assert len(line.told) == 2


def test_a_password_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    config = MqttConfig(
        kind="mqtt", host="127.0.0.1", topic="t", user="loupe", password_file=tmp_path / "none"
    )
    with pytest.raises(ConfigError, match=r"trigger\.password_file"):
        make_trigger(config, SystemClock(), lambda *_: None)


# Modbus


class Program:
    """A PLC's program: it sets the coil, and reads it back."""

    def __init__(self, peer: Plc) -> None:
        client: Any = ModbusTcpClient("127.0.0.1", port=peer.port, timeout=2)
        assert client.connect()
        self._client = client

    def trigger(self, recipe: int = 0) -> None:
        assert not self._client.write_register(17, recipe).isError()
        assert not self._client.write_coil(16, True).isError()

    @property
    def coil(self) -> bool:
        return bool(self._client.read_coils(16, count=1).bits[0])

    def close(self) -> None:
        self._client.close()


def modbus(peer: Plc) -> ModbusConfig:
    return ModbusConfig(
        kind="modbus", host="127.0.0.1", port=peer.port, coil=16, wait=SOON, recipe_register=17,
        recipes={"1": "steel", "2": "brass"},
    )  # fmt: skip


@pytest.fixture
def peer() -> Iterator[Plc]:
    with plc() as made:
        yield made


def test_a_plc_sets_the_coil_for_a_part_and_the_agent_clears_it(line: Line, peer: Plc) -> None:
    program = Program(peer)
    line.start(modbus(peer))
    for count, recipe in enumerate((0, 1, 2, 7), 1):
        program.trigger(recipe)
        eventually(lambda: not program.coil, 10, "the coil is cleared")
        line.fired(count)
    assert line.fired(4) == [("", ""), ("", "steel"), ("", "brass"), ("", "7")]
    # The first look may have come after the first trigger; none of the others may.
    assert [signal.passed for signal in line.signals[1:]] == [False] * 3
    program.close()


def test_a_coil_that_was_set_before_is_a_part_that_has_passed(line: Line, peer: Plc) -> None:
    program = Program(peer)
    program.trigger(1)
    line.start(modbus(peer))
    line.fired(1)
    assert (line.signals[0].passed, line.signals[0].recipe) == (True, "steel")
    eventually(lambda: not program.coil, 10, "the coil is cleared")
    program.close()


def test_a_plc_that_goes_is_told_once_and_found_again(line: Line, peer: Plc) -> None:
    line.start(modbus(peer))
    peer.stop()
    line.hears("is lost")
    peer.start()
    line.hears("is back")
    program = Program(peer)
    program.trigger(2)
    assert line.fired(1) == [("", "brass")]
    program.close()


def test_a_coil_that_is_not_there_is_said(line: Line, peer: Plc) -> None:
    line.start(modbus(peer).model_copy(update={"coil": 900}))
    line.hears("refuses read_coils at 900")


def test_a_recipes_number_without_a_name_is_its_own() -> None:
    names = {"1": "steel"}
    assert [recipe_name(number, names) for number in (0, 1, 2)] == ["", "steel", "2"]


# GPIO: there is no chip here, the rule and the error are tested apart.


def test_each_edge_is_a_part_and_lost_edges_are_parts_that_passed() -> None:
    edges = [(4, 1_500_000_000), (7, 2_000_000_000)]
    assert signals(edges, 3) == [
        Signal(1.5), Signal(2.0, passed=True), Signal(2.0, passed=True), Signal(2.0),
    ]  # fmt: skip


def test_a_chip_that_is_not_there_is_told(line: Line, tmp_path: Path) -> None:
    line.start(GpioConfig(kind="gpio", chip=str(tmp_path / "gpiochip9"), line=3))
    line.hears("gpiochip9 line 3 is lost")


# Through a camera


def test_a_trigger_before_a_live_camera_makes_parts_with_their_words(tmp_path: Path) -> None:
    port = free_port()
    peer, url = mjpeg_peer(tmp_path)
    source = make_source(
        MjpegSource(kind="mjpeg", url=url), HttpConfig(kind="http", port=port, timeout=SOON),
        SystemClock(), FrameCounts(), lambda *_: None, Numbers(100),
    )  # fmt: skip
    source.start(6)
    with running(peer):
        assert source.next(0.2) is None, "no frame is a part without a trigger"
        numbers = [post(port, json.dumps({"part": f"SN-{n}", "recipe": "r"})) for n in (1, 2)]
        parts = [source.next(5), source.next(5)]
    assert numbers == [(202, {"part": 107}), (202, {"part": 108})]
    assert [(one.trigger, one.external_id, one.recipe) for one in parts if one] == [
        (7, "SN-1", "r"), (8, "SN-2", "r"),
    ]  # fmt: skip
    source.close()
