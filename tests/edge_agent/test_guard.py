"""The guard, as a process before a real Modbus server: no verdict outlives who gave it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_agent.output import guard, guarded
from edge_agent.output.guarded import Guarded, GuardSettings
from tests.support.feeder import Feeder
from tests.support.plc import Plc, becomes, plc
from tests.support.scene import Scene
from tests.support.wait import eventually

NONE, ACCEPT, REJECT = 0, 1, 2


def output(port: int, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "modbus", "host": "127.0.0.1", "port": port, "unit": 1, "registers": 0,
        "coils": 0, "hold": 60.0, "heartbeat": 0.1, "timeout": 5.0, **changes,
    }  # fmt: skip


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[Plc, Feeder]]:
    """A PLC and who feeds its guard; ready."""
    with plc() as made:
        feeder = Feeder(tmp_path, [output(made.port)])
        try:
            becomes(made, {"ready": 1}, "the agent judges")
            yield made, feeder
        finally:
            feeder.close()


def accepted(made: Plc, feeder: Feeder, part: int) -> None:
    """Waits until the PLC has it, and the guard knows that it has."""
    feeder.expect(part, 5)
    feeder.say("verdict", part, "accept")
    eventually(lambda: (part, ACCEPT) in made.verdicts, 10, "the verdict arrives")
    writes = len(made.blocks)
    eventually(lambda: len(made.blocks) > writes, 10, "the next heartbeat follows its answer")


def test_a_verdict_reaches_registers_and_coils(line: tuple[Plc, Feeder]) -> None:
    made, feeder = line
    accepted(made, feeder, 70_000 % 65536)
    feeder.say("verdict", 70_000, "reject")
    becomes(made, {"verdict": REJECT, "part_high": 1, "part_low": 70_000 - 65536}, "the next one")
    assert made.now["verdict"] == REJECT
    eventually(lambda: made.coils[-1]["reject"], 5, "the coils follow")
    assert [c for c in made.coils if c["accept"] and c["reject"]] == []
    strobes = [made.coils[0]["strobe"], made.coils[-1]["strobe"]]
    assert strobes == [False, False], "two parts turn the strobe twice"
    assert {c["strobe"] for c in made.coils} == {False, True}


def test_a_killed_agent_leaves_no_verdict_behind(line: tuple[Plc, Feeder]) -> None:
    made, feeder = line
    accepted(made, feeder, 7)
    feeder.expect(8, 30)
    feeder.expect(9, 30)
    eventually(lambda: made.blocks[-1]["verdict"] == ACCEPT, 5, "the verdict on 7 still stands")
    feeder.say("verdict", 8, "accept")
    becomes(made, {"part_low": 8}, "the pipe is read up to 8")
    guard = feeder.guard
    feeder.send(signal.SIGKILL)
    becomes(made, {"ready": 0, "verdict": NONE, "part_low": 9}, "part 9 was never judged")
    assert made.verdicts == [(7, ACCEPT), (8, ACCEPT), (9, NONE)]
    assert made.blocks[-1]["reason"] == 2
    eventually(lambda: not psutil.pid_exists(guard), 10, "the guard ends after its agent")


def test_a_stopped_agent_is_not_ready_and_is_again_when_it_goes_on(
    line: tuple[Plc, Feeder],
) -> None:
    made, feeder = line
    accepted(made, feeder, 7)
    feeder.send(signal.SIGSTOP)
    becomes(made, {"ready": 0, "verdict": NONE, "part_low": 7}, "nothing stands any more")
    feeder.send(signal.SIGCONT)
    becomes(made, {"ready": 1, "verdict": NONE}, "it judges again")
    accepted(made, feeder, 8)
    assert made.verdicts == [(7, ACCEPT), (8, ACCEPT)]


def test_a_verdict_that_comes_too_late_is_no_decision(line: tuple[Plc, Feeder]) -> None:
    made, feeder = line
    feeder.expect(7, 0.3)
    becomes(made, {"part_low": 7, "verdict": NONE, "reason": 1, "ready": 1}, "its time is over")
    feeder.say("verdict", 7, "accept")
    feeder.expect(8, 5)
    feeder.say("verdict", 8, "reject")
    becomes(made, {"part_low": 8, "verdict": REJECT}, "the next part is told")
    assert made.verdicts == [(7, NONE), (8, REJECT)]
    eventually(lambda: any("part 7" in text for text in feeder.events), 5, "the agent hears it")


def test_a_verdict_stands_for_its_time(tmp_path: Path) -> None:
    with plc() as made:
        feeder = Feeder(tmp_path, [output(made.port, hold=0.2)])
        accepted(made, feeder, 7)
        becomes(made, {"verdict": NONE, "part_low": 7, "count": 1}, "it is taken away")
        feeder.close()


def test_a_plc_that_was_away_hears_no_old_verdict(line: tuple[Plc, Feeder]) -> None:
    made, feeder = line
    accepted(made, feeder, 7)
    made.stop()
    due_s = feeder.expect(8, 0.4)
    feeder.say("verdict", 8, "accept")
    eventually(lambda: any("is lost" in text for text in feeder.events), 10, "it is told")
    made.blocks.clear()
    eventually(lambda: time.monotonic() > due_s, 5, "the part's time is over")
    made.start()
    becomes(made, {"part_low": 8, "ready": 1, "verdict": NONE}, "part 8 is told as no decision")
    assert {block["verdict"] for block in made.blocks} == {NONE}
    eventually(lambda: any("is back" in text for text in feeder.events), 10, "its return too")
    assert len([text for text in feeder.events if "is lost" in text]) == 1
    accepted(made, feeder, 9)


def test_a_guard_that_dies_is_started_again(line: tuple[Plc, Feeder]) -> None:
    made, feeder = line
    accepted(made, feeder, 7)
    count = made.blocks[-1]["count"]
    first = feeder.guard
    os.kill(first, signal.SIGKILL)
    eventually(lambda: any("started again" in text for text in feeder.events), 10, "an event")
    becomes(made, {"ready": 1, "verdict": NONE, "count": count}, "it goes on from what is there")
    accepted(made, feeder, 8)
    assert made.verdicts == [(7, ACCEPT), (8, ACCEPT)]


def test_a_guard_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "_HUNG_S", 1.5)
    told: list[str] = []
    with plc() as made:
        settings = GuardSettings([output(made.port)], 1.0, tmp_path / "guard.lock")
        held = Guarded(settings, lambda: True, lambda _kind, text, _severity: told.append(text))
        held.start()
        becomes(made, {"ready": 1}, "the agent judges")
        first = held.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(BlockingIOError):
            _fill(held)
        eventually(lambda: held.pid not in (None, first), 20, "another one took its place")
        assert "does not answer" in told[0]
        made.blocks.clear()
        becomes(made, {"ready": 1}, "and goes on")
        held.close()
        becomes(made, {"ready": 0}, "until it is let go")


def _fill(held: Guarded) -> None:
    for part in range(10_000):
        held.expect(part, 0.0)


def test_the_guard_knows_nothing_of_the_agents_libraries() -> None:
    modules = [path.stem for path in Path(guard.__file__).parent.glob("*.py")]
    light = sorted(set(modules) - {"__init__", "settings", "make", "base", "jsonl", "guarded"})
    assert {"guard", "runner", "signals", "modbus", "gpio", "mqtt", "http"} <= set(light)
    code = f"import sys, {', '.join(f'edge_agent.output.{name}' for name in light)}\n"
    code += "print(*{'pydantic', 'numpy', 'cv2', 'psutil', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_guard_is_small(line: tuple[Plc, Feeder]) -> None:
    _, feeder = line
    assert psutil.Process(feeder.guard).memory_info().rss < 40e6


def test_a_whole_station_tells_its_plc_and_leaves_nothing_behind_when_killed(scene: Scene) -> None:
    with plc() as made:
        station = scene.station()
        modbus = {**output(made.port), "hold": "60s", "heartbeat": "100ms", "timeout": "5s"}
        lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in modbus.items())
        station.config.write_text(f"{station.config.read_text()}\n[[outputs]]\n{lines}\n")
        station.start()
        eventually(lambda: made.verdicts, 20, "parts are told before there is a bundle")
        assert {block["ready"] for block in made.blocks} == {0}, "but the line is not ready"
        digest = scene.release()
        scene.server.assign(scene.device, digest)
        scene.reaches(digest, "committed")
        becomes(made, {"ready": 1}, "the line is ready")
        eventually(lambda: made.blocks[-1]["verdict"] != NONE, 10, "a verdict stands")
        station.kill()
        becomes(made, {"ready": 0, "verdict": NONE}, "nothing stands")
        beat = made.blocks[-1]["heartbeat"]
        station.start()
        becomes(made, {"ready": 1}, "the next agent's guard goes on", timeout_s=30)
        eventually(lambda: made.blocks[-1]["heartbeat"] != beat, 5, "the heartbeat goes on")
        assert station.stop() == 0
        becomes(made, {"ready": 0, "verdict": NONE}, "an agent that ends says so")
