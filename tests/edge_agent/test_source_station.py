"""A whole station behind a live camera: from a trigger's words to the verdict that the server stores."""

import http.client
import json
import socket
from pathlib import Path

from tests.support.broker import free_port
from tests.support.peers import coloured_peer, mjpeg_peer, running
from tests.support.scene import Scene
from tests.support.station import Station
from tests.support.wait import eventually

SOURCE = """
kind = "mjpeg"
url = "{url}"
max_age = "500ms"
[trigger]
kind = "http"
port = {port}
timeout = "300ms"
"""


def fire(port: int, part: str, recipe: str = "") -> int:
    """The number of the part that a trigger made."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/triggers", json.dumps({"part": part, "recipe": recipe}))
    answer = connection.getresponse()
    assert answer.status == 202
    number: int = json.loads(answer.read())["part"]
    connection.close()
    return number


def answers(port: int) -> bool:
    """Whether the trigger's port is there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_a_trigger_ends_in_a_stored_verdict_whatever_becomes_of_camera_and_agent(
    scene: Scene, tmp_path: Path
) -> None:
    port = free_port()
    peer, url = mjpeg_peer(tmp_path / "pictures")
    station = Station(
        tmp_path / "station", scene.broker, scene.device, scene.server.roots(),
        SOURCE.format(url=url, port=port),
    )  # fmt: skip
    with running(peer):
        station.start()
        try:
            eventually(lambda: "camera is connected" in station.log, 20, "the camera is there")
            numbers = [fire(port, "SN-1"), fire(port, "SN-2", "brass")]
            eventually(lambda: len(scene.numbers()) >= 2, 20, "two parts are stored")
            peer.kill()
            eventually(lambda: "camera is lost" in station.log, 10, "the camera is lost")
            numbers.append(fire(port, "SN-3"))
            eventually(lambda: len(scene.numbers()) >= 3, 20, "the part is stored")
            numbers.append(fire(port, "SN-4"))
            station.kill()
            station.start()
            eventually(lambda: answers(port), 20, "the agent is back")
            numbers.append(fire(port, "SN-5"))
            eventually(lambda: len(scene.numbers()) >= 5, 20, "the parts are stored")
            assert station.stop() == 0
        finally:
            station.kill()
    stored = [
        (one.number, one.external_id, one.recipe, one.reason)
        for one in scene.server.verdicts(scene.device)
    ]
    assert numbers == [1, 2, 3, 4, 5]
    assert stored[:3] == [
        (1, "SN-1", "", "model_not_ready"),
        (2, "SN-2", "brass", "model_not_ready"),
        (3, "SN-3", "", "camera_gap"),
    ]  # fmt: skip
    assert [(number, reason) for number, *_, reason in stored[3:]] == [
        (4, "camera_gap"), (5, "camera_gap"),
    ]  # fmt: skip


COLOURS = """
kind = "mjpeg"
url = "{top}"
camera = "top"
[[cameras]]
kind = "mjpeg"
url = "{side}"
camera = "side"
[trigger]
kind = "http"
port = {port}
timeout = "1s"
"""


def test_two_cameras_make_one_part_whose_verdict_names_the_view_that_decided(
    scene: Scene, tmp_path: Path
) -> None:
    port = free_port()
    (top, top_url), (side, side_url) = [
        coloured_peer(tmp_path / name, name) for name in ("green", "red")
    ]
    station = Station(
        tmp_path / "station", scene.broker, scene.device, scene.server.roots(),
        COLOURS.format(top=top_url, side=side_url, port=port), probation=1,
    )  # fmt: skip
    digest = scene.release()
    with running(top), running(side):
        station.start()
        try:
            scene.server.assign(scene.device, digest)
            eventually(lambda: answers(port), 20, "the trigger is there")
            scene.becomes_active(digest)
            # It is durable a moment before it judges.
            eventually(lambda: scene.line().inspecting, 10, "it judges")
            seen = fire(port, "SN-1")
            eventually(lambda: seen in scene.numbers(), 20, "the part is stored")
            side.kill()
            eventually(lambda: "camera side is lost" in station.log, 10, "the camera is lost")
            half = fire(port, "SN-2")
            eventually(lambda: half in scene.numbers(), 20, "the part is stored")
            assert station.stop() == 0
        finally:
            station.kill()
    stored = {
        one.number: (str(one.verdict), one.reason, one.view, one.external_id)
        for one in scene.server.verdicts(scene.device)
    }
    assert stored[seen] == ("reject", "", "side", "SN-1")
    assert stored[half] == ("no_decision", "view_missing", "side", "SN-2")
    assert {window.camera for window in scene.server.windows(scene.device)} == {"top", "side"}
