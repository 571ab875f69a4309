"""Sources: frames in the order of their triggers, and no trigger is passed over silently."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.source.base import CameraLost, Captured, CounterRestarted, Source
from edge_agent.source.folder import FolderSource
from edge_agent.source.line_camera import LineCamera
from fleet_contract.clock import SystemClock
from fleet_contract.errors import ConfigError
from fleet_contract.inference.preprocess import encode_png
from hil.camera.camera import CameraSpec
from hil.camera.client import Bench
from hil.camera.server import Ports, serving
from tests.support.broker import free_port
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
    for red in range(12):
        (folder / f"{red:02}.png").write_bytes(encode_png(solid(red * 10)))
    return FolderSource(
        folder, pattern="*.png", rate_hz=200, channels=3, repeat=True, clock=SystemClock()
    )


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    with serving(spec(12, rate=100.0)) as where:
        yield where


@pytest.mark.parametrize("kind", ["line_camera", "folder"])
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
    source = FolderSource(
        tmp_path, pattern="*.png", rate_hz=100, channels=3, repeat=False, clock=SystemClock()
    )
    source.start(None)
    assert take(source, 1)[0].frame is None
    assert source.next(0.01) is None


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.path"):
        FolderSource(
            tmp_path, pattern="*.png", rate_hz=1, channels=3, repeat=False, clock=SystemClock()
        )
