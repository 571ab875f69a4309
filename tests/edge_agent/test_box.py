"""The person at the box, before a whole station: status, page, metrics, snapshot, logs, lock, the way back."""

import http.client
import json
import os
import signal
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.box.client import ADDRESS
from fleet_contract.inference.preprocess import encode_png
from tests.edge_agent.conftest import Scene
from tests.support.station import Station
from tests.support.tiny_bundle import solid
from tests.support.wait import eventually


def last_json(text: str) -> Any:
    """The object on the last line."""
    return json.loads(text.splitlines()[-1])


def get(station: Station, path: str, host: str = "") -> tuple[int, bytes]:
    address = (station.folder / "data" / ADDRESS).read_text()
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path, headers={"Host": host or address})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def committed(scene: Scene, **changes: object) -> str:
    digest = scene.release(**changes)
    scene.server.assign(scene.device, digest, rollout=f"r-{digest[:8]}")
    scene.reaches(digest, "committed")
    return digest


@pytest.fixture
def station(scene: Scene) -> Station:
    """Running, with a committed bundle."""
    made = scene.station()
    made.start()
    committed(scene)
    return made


def test_who_stands_at_the_box_sees_what_it_does(station: Station, scene: Scene) -> None:
    found = last_json(station.call("status", "--json").stdout)
    assert (found["running"], found["update"]) == ("yes", "committed")
    assert found["live"]["inspecting"]
    assert found["live"]["health"]["parts"] > 0
    assert "judges parts" in station.call("status").stdout

    status, body = get(station, "/metrics")
    assert status == 200
    values = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if line[0] != "#")
    parts = sum(float(v) for name, v in values.items() if name.startswith("loupe_parts_total"))
    assert parts >= found["live"]["health"]["parts"]
    assert float(values['loupe_stage_seconds_count{stage="judge"}']) > 0
    assert values["loupe_up"] == "1"

    out = station.folder / "seen.png"
    done = station.call("snapshot", "--out", str(out))
    assert done.returncode == 0, done.stderr
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

    lines = last_json(station.call("logs", "--json", "--lines", "500").stdout)["lines"]
    assert any("started: agent" in line["text"] for line in lines)
    assert {"time", "level", "logger", "thread", "text"} <= set(lines[0])
    assert station.stop() == 0
    gone = station.call("snapshot")
    assert gone.returncode == 2
    assert "Is the agent running" in gone.stderr
    after = last_json(station.call("status", "--json").stdout)
    assert (after["running"], after["live"], after["active"]) == ("no", None, found["active"])
    assert "not running" in station.call("status").stdout
    assert "agent stopped" in station.call("logs").stdout
    assert scene.numbers()


def test_images_of_a_folder_are_judged_by_the_active_bundle(station: Station) -> None:
    folder = station.folder / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(encode_png(solid(30)))
    (folder / "b.png").write_bytes(encode_png(solid(240)))
    (folder / "c.png").write_bytes(b"no image")
    found = last_json(station.call("replay", str(folder), "--json").stdout)
    assert [(row["file"], row["verdict"]) for row in found["images"]] == [
        ("a.png", "accept"), ("b.png", "reject"), ("c.png", "no_decision"),
    ]  # fmt: skip
    assert found["counts"] == {"accept": 1, "reject": 1, "no_decision": 1}
    table = station.call("replay", str(folder)).stdout
    assert "b.png" in table
    assert "1 accept, 1 reject, 1 no_decision" in table
    empty = station.call("replay", str(station.folder / "data" / "trust"))
    assert empty.returncode == 2
    assert "no image in" in empty.stderr


def test_a_locked_line_takes_no_new_bundle_until_it_is_unlocked(
    station: Station, scene: Scene
) -> None:
    first = scene.active()
    assert station.call("lock", "--line", "watch-case").returncode == 0
    eventually(lambda: scene.server.events(scene.device, "update_lock"), 20, "it is told")
    second = scene.release(gain=8.0)
    scene.server.assign(scene.device, second, rollout="r2")
    eventually(
        lambda: any(request.op == "metadata" for request in scene.server.requests), 20, "it looked"
    )
    scene.server.command(scene.device, id="c1", op="sample", line="watch-case", count=3)
    eventually(lambda: len(scene.server.samples(scene.device)) == 3, 20, "and went on inspecting")
    assert scene.steps(second) == []
    assert scene.active() == first
    assert station.call("unlock", "--line", "watch-case").returncode == 0
    scene.reaches(second, "committed")
    assert last_json(station.call("status", "--json").stdout)["update_locked"] == "no"


def test_without_an_agent_the_way_back_and_the_lock_are_taken_at_once(
    station: Station, scene: Scene
) -> None:
    first = scene.active()
    second = committed(scene, gain=8.0)
    station.stop()
    assert "locked" not in station.call("status").stdout.split("update_locked")[0]
    done = station.call("rollback", "--line", "watch-case")
    assert done.returncode == 0, done.stderr
    assert "when the agent starts" in done.stdout
    station.call("lock", "--line", "watch-case")
    found = last_json(station.call("status", "--json").stdout)
    assert (found["active"], found["update_locked"]) == (first, "yes")
    station.start()
    scene.becomes_active(str(first))
    scene.reaches(second, "rolled_back")


def test_safe_settings_apply_without_a_restart_and_the_rest_says_so(
    station: Station, scene: Scene
) -> None:
    text = station.config.read_text()
    changed = text.replace("audit_share = 0.0", "audit_share = 1.0").replace("20s", "25s")
    station.config.write_text(changed)
    assert station.call("reload").returncode == 0
    eventually(lambda: scene.server.samples(scene.device), 20, "every part is a sample now")
    eventually(lambda: scene.server.events(scene.device, "config"), 20, "it is told")
    event = scene.server.events(scene.device, "config")[0]
    assert "samples applies from now on; trust needs a restart" in event.text
    station.config.write_text(text.replace("[samples]", "[sample]"))
    os.kill(int((station.folder / "data" / "agent.lock").read_text()), signal.SIGHUP)
    eventually(lambda: len(scene.server.events(scene.device, "config")) == 2, 20, "a mistake")
    assert "kept as it was" in scene.server.events(scene.device, "config")[1].text
    assert "Did you mean samples?" in scene.server.events(scene.device, "config")[1].text


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
