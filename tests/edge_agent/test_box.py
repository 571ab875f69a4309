"""The person at the box, before a whole station: status, page, metrics, snapshot, logs, lock, the way back."""

import http.client
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from edge_agent.box.client import ADDRESS
from edge_agent.box.doctor import Finding, examine
from edge_agent.cli import app
from fleet_contract.inference.preprocess import encode_png
from tests.support.broker import TestBroker
from tests.support.scene import Scene
from tests.support.station import Station
from tests.support.tiny_bundle import solid
from tests.support.wait import eventually


def get(station: Station, path: str, host: str = "") -> tuple[int, bytes]:
    address = (station.folder / "data" / ADDRESS).read_text()
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path, headers={"Host": host or address})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def committed(world: Scene, **changes: object) -> str:
    digest = world.release(**changes)
    world.server.assign(world.device, digest, rollout=f"r-{digest[:8]}")
    world.reaches(digest, "committed")
    return digest


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, broker: TestBroker) -> Iterator[Scene]:
    """One server and one station for all tests here."""
    made = Scene(tmp_path_factory.mktemp("box"), broker)
    yield made
    made.close()


@pytest.fixture(scope="module")
def running(world: Scene) -> Station:
    """It, with a committed bundle."""
    made = world.station()
    made.start()
    committed(world)
    return made


@pytest.fixture
def station(running: Station) -> Station:
    """It, running."""
    if not running.running:
        running.start()
        eventually(lambda: told(running, "status", "--json")["live"], 20, "its page answers")
    return running


def said(station: Station, *words: str) -> Result:
    """What a command prints and how it ends."""
    return CliRunner().invoke(app, [*words, "--config", str(station.config)])


def told(station: Station, *words: str) -> Any:
    """The object on a command's last line."""
    done = said(station, *words)
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout.splitlines()[-1])


def test_who_stands_at_the_box_sees_what_it_does(station: Station, world: Scene) -> None:
    found = told(station, "status", "--json")
    assert (found["running"], found["update"]) == ("yes", "committed")
    assert found["live"]["inspecting"]
    assert found["live"]["health"]["parts"] > 0
    assert "judges parts" in said(station, "status").stdout

    status, body = get(station, "/metrics")
    assert status == 200
    values = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if line[0] != "#")
    parts = sum(float(v) for name, v in values.items() if name.startswith("loupe_parts_total"))
    assert parts >= found["live"]["health"]["parts"]
    assert float(values['loupe_stage_seconds_count{stage="judge"}']) > 0
    assert values["loupe_up"] == "1"

    out = station.folder / "seen.png"
    done = said(station, "snapshot", "--out", str(out))
    assert done.exit_code == 0, done.exception
    image = np.asarray(cv2.imread(str(out)))
    assert image.shape == (36 + 64, 2 * 64, 3), "frame and heat map side by side, below the verdict"

    assert get(station, "/frame.jpg")[1][:2] == b"\xff\xd8"
    assert get(station, "/nothing")[0] == 404
    assert get(station, "/", host="evil.example")[0] == 403
    assert b"<title>Loupe station</title>" in get(station, "/")[1]
    part = next(
        p["number"] for p in json.loads(get(station, "/state.json")[1])["parts"] if p["picture"]
    )
    assert get(station, f"/parts/{part}-heat.jpg")[1][:2] == b"\xff\xd8"

    lines = told(station, "logs", "--json", "--lines", "500")["lines"]
    assert any("started: agent" in line["text"] for line in lines)
    assert {"time", "level", "logger", "thread", "text"} <= set(lines[0])
    assert station.stop() == 0
    gone = station.call("snapshot")
    assert gone.returncode == 2
    assert "Is the agent running" in gone.stderr
    after = told(station, "status", "--json")
    assert (after["running"], after["live"], after["active"]) == ("no", None, found["active"])
    assert "not running" in said(station, "status").stdout
    assert "agent stopped" in said(station, "logs").stdout
    assert world.numbers()


def test_images_of_a_folder_are_judged_by_the_active_bundle(station: Station) -> None:
    folder = station.folder / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(encode_png(solid(30)))
    (folder / "b.png").write_bytes(encode_png(solid(240)))
    (folder / "c.png").write_bytes(b"no image")
    found = told(station, "replay", str(folder), "--json")
    assert [(row["file"], row["verdict"]) for row in found["images"]] == [
        ("a.png", "accept"), ("b.png", "reject"), ("c.png", "no_decision"),
    ]  # fmt: skip
    assert found["counts"] == {"accept": 1, "reject": 1, "no_decision": 1}
    table = said(station, "replay", str(folder)).stdout
    assert "b.png" in table
    assert "1 accept, 1 reject, 1 no_decision" in table
    empty = said(station, "replay", str(station.folder / "data" / "trust"))
    assert "no image in" in str(empty.exception)


def test_a_locked_line_takes_no_new_bundle_until_it_is_unlocked(
    station: Station, world: Scene
) -> None:
    def looks() -> int:
        return sum(request.op == "metadata" for request in world.server.requests)

    first, name = world.active(), ("--line", "watch-case")
    assert said(station, "lock", *name).exit_code == 0
    eventually(lambda: world.server.events(world.device, "update_lock"), 20, "it is told")
    second, before = world.release(gain=8.0), looks()
    world.server.assign(world.device, second, rollout="r2")
    eventually(lambda: looks() > before, 20, "it looked")
    world.judges(str(first))
    assert world.steps(second) == []
    assert world.active() == first
    assert said(station, "unlock", *name).exit_code == 0
    world.reaches(second, "committed")
    assert told(station, "status", "--json")["update_locked"] == "no"


def test_without_an_agent_the_way_back_and_the_lock_are_taken_at_once(
    station: Station, world: Scene
) -> None:
    first = world.active()
    second = committed(world, gain=9.0)
    station.stop()
    done = said(station, "rollback", "--line", "watch-case")
    assert "when the agent starts" in done.stdout
    assert said(station, "lock", "--line", "watch-case").exit_code == 0
    found = told(station, "status", "--json")
    assert (found["active"], found["update_locked"]) == (first, "yes")
    assert said(station, "unlock", "--line", "watch-case").exit_code == 0
    text = station.config.read_text()
    station.config.write_text(
        text.replace('kind = "line_camera"', 'kind = "line_camera"\nchannels = 1')
    )
    camera = finding("camera", station.config)
    station.config.write_text(text)
    assert camera.grade == "fault"
    assert "expected uint8 with 3 channels; found uint8 with 1" in camera.text
    assert finding("camera", station.config).grade == "ok"
    station.start()
    world.becomes_active(str(first))
    world.reaches(second, "rolled_back")


def test_safe_settings_apply_without_a_restart_and_the_rest_says_so(
    station: Station, world: Scene
) -> None:
    def events() -> list[str]:
        return [event.text for event in world.server.events(world.device, "config")]

    text = station.config.read_text()
    changed = text.replace("audit_share = 0.0", "audit_share = 1.0").replace("20s", "25s")
    station.config.write_text(changed)
    assert said(station, "reload").exit_code == 0
    eventually(lambda: world.server.samples(world.device), 20, "every part is a sample now")
    eventually(events, 20, "it is told")
    assert "samples applies from now on; trust needs a restart" in events()[0]
    station.config.write_text(text.replace("[samples]", "[sample]"))
    os.kill(int((station.folder / "data" / "agent.lock").read_text()), signal.SIGHUP)
    eventually(lambda: len(events()) == 2, 20, "a mistake is told")
    assert "kept as it was" in events()[1]
    assert "Did you mean samples?" in events()[1]
    station.config.write_text(text)


def finding(check: str, config: Path) -> Finding:
    return next(one for one in examine(config) if one.check == check)


def test_the_doctor_beside_an_agent_disturbs_nothing_and_finds_what_does_not_fit(
    station: Station, world: Scene
) -> None:
    def links() -> list[bool]:
        return [status.online for name, status in world.server.links if name == world.device]

    before = links()
    grades = {one.check: one.grade for one in examine(station.config)}
    assert (grades["camera"], grades["broker"], grades["agent"]) == ("ok", "ok", "ok")
    assert "onnx/fp32" in finding("model", station.config).text
    assert links() == before, "its connection did not end the agent's"

    copy = station.folder / "other.toml"
    shutil.copy(station.config, copy)
    other = finding("agent", copy)
    assert other.grade == "fault"
    assert "station.toml" in other.text

    board = station.folder / "board.toml"
    text = board.read_text()
    board.write_text(text.replace('"fp32"', '"int8"'))
    model = finding("model", station.config)
    board.write_text(text)
    assert model.grade == "fault"
    assert "int8" in model.text


def test_a_page_whose_address_is_taken_does_not_keep_the_agent_from_inspecting(
    scene: Scene,
) -> None:
    first = scene.station("one")
    first.start()
    eventually(lambda: (first.folder / "data" / ADDRESS).exists(), 20, "the first page is there")
    address = (first.folder / "data" / ADDRESS).read_text()
    second = scene.station("two")
    text = second.config.read_text().replace('address = "127.0.0.1:0"', f'address = "{address}"')
    second.config.write_text(text)
    second.start()
    output = second.folder / "verdicts.jsonl"
    eventually(lambda: output.exists() and output.read_text(), 20, "it inspects")
    assert "status page's address" in second.log
