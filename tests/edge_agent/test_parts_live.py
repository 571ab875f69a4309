"""Parts of several frames and cameras before real peers, and recipes that move a real camera."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.source.base import CameraLost, Captured, FrameCounts, Source
from edge_agent.source.folder import Folder
from edge_agent.source.grouped import Grouped
from edge_agent.source.line_camera import LineCamera
from edge_agent.source.make import make_source
from edge_agent.source.replay import Replay
from edge_agent.source.settings import GigeSource, MjpegSource, PartConfig, RecipeConfig
from edge_agent.trigger.settings import HttpTrigger
from fleet_contract.clock import SystemClock
from fleet_contract.inference.preprocess import encode_png
from hil.camera.camera import CameraSpec
from hil.camera.client import Bench
from hil.camera.server import serving
from tests.support.broker import free_port
from tests.support.peers import Peer, coloured_peer, gige_peer, running
from tests.support.tiny_bundle import solid
from tests.support.wait import eventually

QUICK: Any = "600ms"
SOON: Any = "1s"


def fire(port: int, **words: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/triggers", json.dumps(words))
    number: int = json.loads(connection.getresponse().read())["part"]
    connection.close()
    return number


def take(source: Source, count: int) -> list[Captured]:
    """The next views; losses of cameras are passed over."""
    found: list[Captured] = []

    def enough() -> bool:
        try:
            captured = source.next(0.1)
        except CameraLost:
            return False
        found.extend([captured] if captured else [])
        return len(found) >= count

    eventually(enough, 20, f"{count} views")
    return found


def shown(captured: list[Captured]) -> list[tuple[int, int, str]]:
    """Part, view, and its strongest colour or why there is no picture; by part and view."""
    return sorted(
        (one.trigger, one.view, one.reason if one.frame is None else colour(one.frame))
        for one in captured
    )


def colour(frame: np.ndarray[Any, Any]) -> str:
    return ("red", "green", "blue")[int(frame[-4:, -4:].mean(axis=(0, 1)).argmax())]


@contextmanager
def two_cameras(folder: Path, part: PartConfig) -> Iterator[tuple[Peer, Source, int]]:
    """One that shows red and one that shows green before one trigger; the second's peer."""
    folder.mkdir(exist_ok=True)
    (red, red_url), (green, green_url) = [
        coloured_peer(folder / name, name) for name in ("red", "green")
    ]
    port = free_port()
    cameras = [
        MjpegSource(kind="mjpeg", url=url, camera=name, max_age=QUICK)
        for url, name in ((red_url, "top"), (green_url, "side"))
    ]
    source = make_source(
        cameras[0], HttpTrigger(kind="http", port=port, timeout=SOON), SystemClock(), FrameCounts(),
        lambda *_: None, cameras=cameras[1:], part=part,
    )  # fmt: skip
    with running(red), running(green):
        source.start(None)
        try:
            yield green, source, port
        finally:
            source.close()


def lost_camera(source: Source) -> str:
    """Name of the camera that is told to be lost."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            source.next(0.1)
        except CameraLost as error:
            return error.camera
    raise AssertionError("no camera is lost")


def test_one_trigger_takes_a_frame_of_each_camera_and_one_that_died_is_a_missing_view(
    tmp_path: Path,
) -> None:
    with two_cameras(tmp_path, PartConfig()) as (green, source, port):
        # Until both are there parts lack views: each part has both all the same.
        eventually(
            lambda: fire(port) and all(one.frame is not None for one in take(source, 2)), 20,
            "both cameras are there",
        )  # fmt: skip
        first = fire(port, part="SN-1", recipe="steel")
        both = take(source, 2)
        green.kill()
        assert lost_camera(source) == "side"
        second = fire(port, part="SN-2")
        alone = take(source, 2)
        green.start()
        eventually(
            lambda: fire(port) and all(one.frame is not None for one in take(source, 2)), 20,
            "the camera is back",
        )  # fmt: skip
    assert shown(both) == [(first, 0, "red"), (first, 1, "green")]
    assert {(one.external_id, one.recipe) for one in both} == {("SN-1", "steel")}
    assert shown(alone) == [(second, 0, "red"), (second, 1, "camera_gap")]
    assert {one.external_id for one in alone} == {"SN-2"}


def test_each_camera_gives_its_burst_at_its_spacing(tmp_path: Path) -> None:
    spacing: Any = "60ms"
    with two_cameras(tmp_path, PartConfig(frames=2, spacing=spacing)) as (_, source, port):
        eventually(
            lambda: fire(port) and all(one.frame is not None for one in take(source, 4)), 20,
            "both cameras are there",
        )  # fmt: skip
        number = fire(port)
        burst = take(source, 4)
    assert shown(burst) == [
        (number, 0, "red"), (number, 1, "red"), (number, 2, "green"), (number, 3, "green"),
    ]  # fmt: skip
    arrivals = {one.view: one.arrival_s for one in burst}
    assert min(arrivals[1] - arrivals[0], arrivals[3] - arrivals[2]) >= 0.06


# Counted sources


def places(captured: list[Captured]) -> list[tuple[int, int]]:
    return [(one.trigger, one.view) for one in captured]


def test_files_make_parts_by_their_order_also_from_the_middle(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(encode_png(solid(number * 20)))
    clock = SystemClock()
    replay = Replay(Folder(tmp_path, "*.png", 3), rate_hz=500, repeat=False, clock=clock)
    source = Grouped(replay, 3, 0.1, clock)
    source.start(1)
    found = take(source, 6)
    assert places(found) == [(2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2)]
    assert [one.frame is not None for one in found] == [True] * 5 + [False]
    assert (found[-1].reason, source.next(0.01)) == ("camera_gap", None)
    source.close()


def test_frames_that_a_cameras_buffer_lost_are_missing_views_of_their_parts() -> None:
    spec = CameraSpec("cam-1", 1, 200.0, 0.25, 8, 64, 40)
    with serving(spec) as where, Bench(where.bench_url) as bench:
        eventually(lambda: bench.counters()["triggers"] == 40, 10, "all parts are through")
        source = Grouped(LineCamera(where.url, 3, 5.0, SystemClock()), 3, 5.0, SystemClock())
        # Frames 1 to 32 are gone: part 2 was asked for, part 11 has its last frame left.
        source.start(1)
        found = take(source, 4)
        source.close()
    assert places(found) == [(11, 0), (11, 1), (11, 2), (12, 0)]
    assert [one.reason for one in found if one.frame is None] == ["camera_gap"] * 2


class Steps:
    """A counted source that gives these frame numbers."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)

    def start(self, after: int | None) -> None:
        """Where the script is."""

    def next(self, timeout_s: float) -> Captured | None:  # noqa: ARG002 - at once
        if not self.numbers:
            return None
        return Captured(solid(9), self.numbers.pop(0), time.monotonic())

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(
    ("after", "numbers", "expected"),
    [
        (None, (5, 6, 7, 8), [(3, 0), (3, 1), (4, 0), (4, 1)]),
        (None, (6, 7), [(4, 0)]),
        (2, (6,), [(3, 0), (3, 1)]),
        (0, (1, 4, 4, 3), [(1, 0), (1, 1), (2, 0), (2, 1)]),
        (0, (1, 7), [(1, 0), (1, 1), (4, 0)]),
    ],
)
def test_no_frame_is_taken_for_another_parts(
    after: int | None, numbers: tuple[int, ...], expected: list[tuple[int, int]]
) -> None:
    source = Grouped(Steps(*numbers), 2, 99.0, SystemClock())
    source.start(after)
    found = [one for _ in range(12) if (one := source.next(0))]
    assert places(found) == expected


# Recipes


def brightness(part: Captured) -> float:
    assert part.frame is not None, part.reason
    return float(part.frame.mean())


def test_a_recipe_moves_the_camera_before_its_frame_and_goes_back_after_it() -> None:
    told: list[str] = []
    port = free_port()
    peer, address = gige_peer()
    recipes = {
        "bright": RecipeConfig.model_validate({"skip": 2, "controls": {"cam-1": {"gain": 9.0}}}),
        "blue": RecipeConfig.model_validate({"controls": {"cam-1": {"white_balance": 7000}}}),
    }
    counts = FrameCounts()
    timeout: Any = "3s"
    source = make_source(
        GigeSource(kind="gige", address=address, channels=1),
        HttpTrigger(kind="http", port=port, timeout=timeout), SystemClock(), counts,
        lambda *words: told.append(words[1]), recipes=recipes,
    )  # fmt: skip
    with running(peer):
        source.start(None)

        def ask(recipe: str) -> Captured:
            """A part of that recipe; another one where a busy machine lost some of its picture."""
            deadline = time.monotonic() + 20
            while True:
                fire(port, recipe=recipe)
                (part,) = take(source, 1)
                if part.frame is not None or part.reason == "camera_settings":
                    return part
                assert time.monotonic() < deadline, part.reason

        plain, bright, again, brass = (ask(recipe) for recipe in ("", "bright", "", "brass"))
        blue, after = ask("blue"), ask("bright")
        source.close()
    levels = [brightness(part) for part in (plain, bright, again, brass, after)]
    assert levels[1] != pytest.approx(levels[0], rel=0.05)
    assert levels[2] == pytest.approx(levels[0], rel=0.05)
    assert levels[3] == pytest.approx(levels[0], rel=0.05)
    assert levels[4] == pytest.approx(levels[1], rel=0.05)
    assert (blue.frame, blue.reason, blue.recipe) == (None, "camera_settings", "blue")
    assert counts.unset == 1
    (text,) = told
    assert "does not take the settings of recipe blue: white_balance cannot be set" in text
