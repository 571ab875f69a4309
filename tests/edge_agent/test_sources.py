"""Sources: frames in the order of their triggers, and no trigger is passed over silently."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.source.base import CameraLost, Captured, CounterRestarted, Source
from edge_agent.source.folder import Folder
from edge_agent.source.line_camera import LineCamera
from edge_agent.source.replay import Pictures, Replay
from edge_agent.source.video import Video
from fleet_contract.clock import SystemClock
from fleet_contract.errors import ConfigError
from fleet_contract.inference.preprocess import encode_png
from hil.camera.camera import CameraSpec
from hil.camera.client import Bench
from hil.camera.server import Ports, serving
from tests.support.broker import free_port
from tests.support.peers import video
from tests.support.tiny_bundle import solid
from tests.support.wait import eventually


def spec(parts: int | None = None, *, rate: float = 50.0, buffer: int = 64) -> CameraSpec:
    return CameraSpec("cam-1", 1, rate, 0.25, buffer, 64, parts)


def take(source: Source, count: int) -> list[Captured]:
    frames: list[Captured] = []
    deadline = time.monotonic() + 20
    while len(frames) < count:
        assert time.monotonic() < deadline, f"only {len(frames)} frames came"
        frame = source.next(0.1)
        if frame is not None:
            frames.append(frame)
    return frames


def make(kind: str, ports: Ports, folder: Path) -> Source:
    if kind == "line_camera":
        return LineCamera(ports.url, 3, 5.0, SystemClock())
    if kind == "video":
        video(folder / "film.avi", 12)
        return Replay(Video(folder / "film.avi", 3), rate_hz=200, repeat=True, clock=SystemClock())
    for red in range(12):
        (folder / f"{red:02}.png").write_bytes(encode_png(solid(red * 10)))
    pictures = Folder(folder, "*.png", 3)
    return Replay(pictures, rate_hz=200, repeat=True, clock=SystemClock())


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    with serving(spec(12, rate=100.0)) as where:
        yield where


@pytest.mark.parametrize("kind", ["line_camera", "folder", "video"])
class TestEverySource:
    def test_triggers_come_in_order_after_the_one_that_is_done(
        self, kind: str, ports: Ports, tmp_path: Path
    ) -> None:
        source = make(kind, ports, tmp_path)
        source.start(4)
        assert [frame.trigger for frame in take(source, 6)] == [5, 6, 7, 8, 9, 10]
        source.close()

    def test_the_same_trigger_gives_the_same_frame_again(
        self, kind: str, ports: Ports, tmp_path: Path
    ) -> None:
        source = make(kind, ports, tmp_path)
        source.start(2)
        first = take(source, 1)[0]
        source.start(2)
        again = take(source, 1)[0]
        assert first.frame is not None
        assert again.frame is not None
        assert (first.frame == again.frame).all()
        assert first.frame.shape[2] == 3
        source.close()


def test_a_buffer_that_ran_over_shows_as_a_gap() -> None:
    with serving(spec(40, rate=200.0, buffer=8)) as where, Bench(where.bench_url) as bench:
        eventually(lambda: bench.counters()["triggers"] == 40, 10, "all parts are through")
        source = LineCamera(where.url, 3, 5.0, SystemClock())
        source.start(3)
        assert take(source, 1)[0].trigger == 33
        source.close()


def test_a_camera_that_counts_from_the_beginning_again_is_noticed() -> None:
    with serving(spec(5, rate=100.0)) as where:
        source = LineCamera(where.url, 3, 5.0, SystemClock())
        source.start(5000)
        with pytest.raises(CounterRestarted, match="after 5000"):
            take(source, 1)
        source.start(0)
        assert take(source, 1)[0].trigger == 1
        source.close()


def test_a_camera_that_is_away_is_lost_and_found_again() -> None:
    port = free_port()
    source = LineCamera(f"http://127.0.0.1:{port}", 3, 1.0, SystemClock())
    source.start(0)
    with pytest.raises(CameraLost, match=str(port)):
        source.next(0.1)
    with serving(spec(), port=port):
        assert take(source, 1)[0].trigger == 1
        source.close()


def test_a_frozen_camera_is_lost_within_its_timeout() -> None:
    with serving(spec()) as where, Bench(where.bench_url) as bench:
        source = LineCamera(where.url, 3, 0.3, SystemClock())
        source.start(0)
        take(source, 1)
        bench.freeze()
        with pytest.raises(CameraLost):
            take(source, 100)
        bench.unfreeze()
        assert take(source, 1)[0].trigger >= 2
        source.close()


def test_a_file_that_is_no_image_is_a_part_without_a_frame(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"not an image")
    source = replay(Folder(tmp_path, "*.png", 3))
    source.start(None)
    part = take(source, 1)[0]
    assert (part.frame, part.reason) == (None, "frame_unreadable")
    assert source.next(0.01) is None


def replay(pictures: Pictures, *, repeat: bool = False) -> Replay:
    return Replay(pictures, rate_hz=500, repeat=repeat, clock=SystemClock())


def levels(frames: list[Captured]) -> list[int]:
    """Grey levels of the film's frames, in tens."""
    return [round(float(one.frame.mean()) / 10) for one in frames if one.frame is not None]


def test_a_film_is_replayed_frame_by_frame_also_from_its_middle(tmp_path: Path) -> None:
    video(tmp_path / "film.avi", 12)
    source = replay(Video(tmp_path / "film.avi", 3), repeat=True)
    source.start(9)
    frames = take(source, 6)
    assert [one.trigger for one in frames] == [10, 11, 12, 13, 14, 15]
    assert levels(frames) == [9, 10, 11, 0, 1, 2]
    source.start(26)
    assert levels(take(source, 2)) == [2, 3]
    source.close()


def test_a_film_that_is_not_repeated_ends(tmp_path: Path) -> None:
    video(tmp_path / "film.avi", 3)
    source = replay(Video(tmp_path / "film.avi", 1))
    source.start(None)
    frames = take(source, 3)
    assert frames[0].frame is not None
    assert frames[0].frame.ndim == 2
    assert [source.next(0.01) for _ in range(3)] == [None, None, None]


def test_images_of_16_bits_keep_their_depth_and_of_8_are_then_refused(tmp_path: Path) -> None:
    deep = np.full((8, 8), 40_000, np.uint16)
    (tmp_path / "1.png").write_bytes(encode_png(deep))
    (tmp_path / "2.png").write_bytes(encode_png(solid(3)))
    source = replay(Folder(tmp_path, "*.png", 1, 16))
    source.start(None)
    first, second = take(source, 2)
    assert first.frame is not None
    assert first.frame.dtype == np.uint16
    assert first.frame.max() == 40_000
    assert second.frame is None


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.path"):
        Folder(tmp_path, "*.png", 3)


def test_a_file_that_is_no_film_is_refused(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"not a film")
    with pytest.raises(ConfigError, match=r"source\.path"):
        Video(tmp_path / "film.mp4", 3)
