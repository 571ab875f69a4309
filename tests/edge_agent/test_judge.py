"""Verdicts of those who judge today: how they come in, and which parts they are of."""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pymodbus.client import ModbusTcpClient

from edge_agent.config import StationConfig, tables
from edge_agent.judge.base import Judge, Ruling, read_ruling
from edge_agent.judge.make import HttpJudge, make_judge
from edge_agent.judge.pairing import Pairing
from edge_agent.judge.settings import HttpJudge as HttpConfig
from edge_agent.judge.settings import JudgeConfig
from edge_agent.judge.settings import ModbusJudge as ModbusConfig
from edge_agent.judge.settings import MqttJudge as MqttConfig
from fleet_contract.clock import SystemClock
from fleet_contract.errors import DataError
from fleet_contract.names import Verdict
from tests.support.imports import ROOT
from tests.support.plant import Plant
from tests.support.plc import plc
from tests.support.wait import eventually

ACCEPT, REJECT = Verdict.ACCEPT, Verdict.REJECT


class Line:
    """Parts a second apart from number 1 on; the candidate says `word N` of part N."""

    def __init__(self, within_s: float = 3.0) -> None:
        self.pairing: Pairing[str] = Pairing(within_s)

    def parts(self, *numbers: int, names: str = "", silent: bool = False) -> None:
        for number in numbers:
            self.pairing.part(number, f"{names}{number}" if names else "", float(number))
            self.pairing.word(number, None if silent else f"word {number}")

    def says(self, verdict: Verdict, at_s: float, name: str = "") -> None:
        self.pairing.ruling(Ruling(verdict, at_s, name))

    def pairs(self, now_s: float) -> list[tuple[int, Verdict, str]]:
        return [(one.part, one.verdict, one.word) for one in self.pairing.take(now_s)]


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_verdict_with_an_id_belongs_to_the_part_of_that_id_whichever_comes_first(
    line: Line,
) -> None:
    line.parts(1, 2, names="SN-")
    line.says(REJECT, 2.1, "SN-2")
    line.says(ACCEPT, 2.2, "SN-3")
    assert line.pairs(2.3) == [(2, REJECT, "word 2")]
    line.parts(3, names="SN-")
    assert line.pairs(3.1) == [(3, ACCEPT, "word 3")]
    line.says(ACCEPT, 3.2, "SN-1")
    assert line.pairs(3.3) == [(1, ACCEPT, "word 1")]
    assert line.pairing.unpaired() == 0


def test_verdicts_without_an_id_go_by_the_order_of_the_parts(line: Line) -> None:
    line.parts(1, 2)
    for verdict in (ACCEPT, REJECT, ACCEPT):
        line.says(verdict, 2.5)
    line.parts(3)
    assert [(part, verdict) for part, verdict, _ in line.pairs(3.0)] == [
        (1, ACCEPT), (2, REJECT), (3, ACCEPT),
    ]  # fmt: skip


def test_what_comes_too_far_apart_stays_without_a_partner_and_is_counted(line: Line) -> None:
    line.parts(1)
    assert line.pairs(4.5) == []
    line.says(REJECT, 4.5)
    assert line.pairs(8.0) == []
    assert line.pairing.unpaired() == 2
    line.parts(9)
    line.says(ACCEPT, 9.5)
    assert line.pairs(10.0) == [(9, ACCEPT, "word 9")], "the next part is not shifted"


def test_a_part_without_the_candidates_word_keeps_its_place_in_the_order(line: Line) -> None:
    line.parts(1, silent=True)
    line.parts(2)
    line.says(REJECT, 2.1)
    line.says(ACCEPT, 2.2)
    assert line.pairs(2.3) == [(2, ACCEPT, "word 2")]
    assert line.pairing.unpaired() == 0


def test_a_verdict_that_was_left_out_shifts_no_more_than_the_time_allows() -> None:
    line = Line(within_s=1.5)
    line.parts(1, 2, 3)
    # Each part is judged a second after it came; nobody judged the first.
    line.says(REJECT, 3.0)
    line.pairs(3.0)
    line.parts(4)
    line.says(ACCEPT, 4.0)
    assert line.pairs(4.0)[0][0] == 3


@pytest.mark.parametrize("body", [b"", b"maybe", b"[]", b'{"verdict": "no_decision"}',
                                  b'{"verdict": "accept", "id": "x"}', b'{"part": "x"}'])  # fmt: skip
def test_a_verdict_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(DataError, match="not understood"):
        read_ruling(body, 0.0)


def test_the_page_on_plcs_names_every_kind() -> None:
    page = (ROOT / "docs" / "how-to" / "connect-a-plc.md").read_text()
    for table in tables(StationConfig.model_fields["judge"].annotation):
        (kind,) = get_args(table.model_fields["kind"].annotation)
        assert f"| `{kind}` |" in page


# The ways in, each against its real peer.


class Ear:
    """What a judge said, and what was told of it."""

    def __init__(self) -> None:
        self.rulings: list[Ruling] = []
        self.told: list[str] = []
        self._judge: Judge | None = None

    def start(self, config: JudgeConfig) -> Judge:
        self._judge = make_judge(config, SystemClock(), lambda *words: self.told.append(words[1]))
        self._judge.start(self.rulings.append)
        return self._judge

    def heard(self, count: int) -> list[tuple[str, str]]:
        eventually(lambda: len(self.rulings) >= count, 10, f"{count} verdicts")
        return [(str(one.verdict), one.external_id) for one in self.rulings]

    def close(self) -> None:
        if self._judge is not None:
            self._judge.close()


@pytest.fixture
def ear() -> Iterator[Ear]:
    before = set(threading.enumerate())
    made = Ear()
    yield made
    made.close()
    assert set(threading.enumerate()) <= before, "a judge leaves no thread"


def post(port: int, path: str, body: str | bytes, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_program_posts_verdicts(ear: Ear) -> None:
    judge = ear.start(HttpConfig(kind="http", port=0))
    assert isinstance(judge, HttpJudge)
    assert post(judge.port, "/verdicts", '{"part": "SN-1", "verdict": "reject"}') == 202
    assert post(judge.port, "/verdicts", "accept") == 202
    assert post(judge.port, "/verdicts", "perhaps") == 400
    assert ear.heard(2) == [("reject", "SN-1"), ("accept", "")]


def test_messages_of_the_plant_are_verdicts(ear: Ear, tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.start()
    ear.start(MqttConfig(kind="mqtt", host="127.0.0.1", port=plant.port, topic="plant/judged"))

    def subscribed() -> bool:
        plant.publish("plant/judged", "accept")
        return bool(ear.rulings)

    eventually(subscribed, 20, "the judge has subscribed")
    before = len(ear.rulings)
    for payload in ("what?", "what now?", '{"part": "SN-7", "verdict": "reject"}'):
        plant.publish("plant/judged", payload)
    assert ear.heard(before + 1)[-1] == ("reject", "SN-7")
    assert len([text for text in ear.told if "not understood" in text]) == 1
    plant.stop()


def test_a_plc_sets_a_coil_once_its_verdict_lies_in_the_register(ear: Ear) -> None:
    with plc() as peer:
        client: Any = ModbusTcpClient("127.0.0.1", port=peer.port, timeout=2)
        assert client.connect()

        def rules(value: int) -> None:
            assert not client.write_register(20, value).isError()
            assert not client.write_coil(21, True).isError()

        def cleared() -> bool:
            return not client.read_coils(21, count=1).bits[0]

        rules(2)
        config = ModbusConfig(
            kind="modbus", host="127.0.0.1", port=peer.port, coil=21, verdict_register=20
        )
        ear.start(config)
        eventually(cleared, 10, "a verdict of long ago is passed over")
        for value in (1, 2, 9, 1):
            rules(value)
            eventually(cleared, 10, "the coil is cleared")
        assert ear.heard(3) == [("accept", ""), ("reject", ""), ("accept", "")]
        assert "register 20 holds 9, expected 1 for accept" in ear.told[0]
        client.close()
