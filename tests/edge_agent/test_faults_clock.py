"""A clock in 1970 or in 2099: the agent inspects, says so, takes nothing by mistake, and catches up."""

import os
from pathlib import Path

import pytest

from edge_agent.trusted_time import SLACK_S, clock_trouble
from fleet_contract.messages import Stream
from tests.support.scene import Scene
from tests.support.station import Station
from tests.support.wait import eventually

RIGHT = "+0"
# libfaketime turns the monotonic instants that `time.sleep` waits for, though it is told not to.
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"


class Turned:
    """A clock that an agent reads; it may be turned while it runs. Monotonic time is left alone."""

    def __init__(self, folder: Path, time: str) -> None:
        self._folder, self._file = folder, folder / "clock"
        (folder / "sitecustomize.py").write_text(SLEEP)
        self.turn(time)

    def turn(self, time: str) -> None:
        self._file.write_text(time)

    @property
    def prefix(self) -> tuple[str, ...]:
        return (
            "env", f"LD_PRELOAD={library()}", f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
            f"PYTHONPATH={self._folder}:{os.environ.get('PYTHONPATH', '')}",
        )  # fmt: skip


def library() -> Path:
    found = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "libfaketime is not installed; `make test` brings it"
    return found[0]


def clock_events(scene: Scene) -> list[str]:
    return [event.text for event in scene.server.events(scene.device, "clock")]


def committed(scene: Scene, station: Station) -> str:
    station.start()
    digest = scene.release()
    scene.server.assign(scene.device, digest)
    scene.reaches(digest, "committed")
    station.stop()
    return digest


def test_in_1970_it_inspects_connects_by_the_last_verified_time_and_says_so(
    scene: Scene, tmp_path: Path
) -> None:
    station, clock = scene.station(), Turned(tmp_path, "@1970-01-02 00:00:00")
    first = committed(scene, station)
    station.start(clock.prefix)
    scene.judges(first)
    eventually(lambda: clock_events(scene), 30, "it says that the clock is wrong")
    assert "1970-01-02" in clock_events(scene)[0]
    assert not scene.server.stored(scene.device, Stream.EVENTS)[-1].clock_synchronised
    second = scene.release(gain=8.0)
    scene.server.assign(scene.device, second, rollout="r2")
    scene.reaches(second, "committed")
    clock.turn(RIGHT)
    eventually(lambda: "right again" in clock_events(scene)[-1], 30, "it catches up")
    scene.every_part_once()


def test_in_2099_it_inspects_alone_takes_nothing_and_catches_up(
    scene: Scene, tmp_path: Path
) -> None:
    station, clock = scene.station(), Turned(tmp_path, "@2099-06-01 00:00:00")
    first = committed(scene, station)
    second = scene.release(gain=8.0)
    scene.server.assign(scene.device, second, rollout="r2")
    lines = station.output_lines
    station.start(clock.prefix)
    eventually(lambda: "is not valid now" in station.log, 30, "the broker is not believed")
    eventually(lambda: station.output_lines > lines + 20, 30, "it inspects")
    assert all(first in line for line in station.told_lines(lines))
    assert scene.steps(second) == []
    clock.turn(RIGHT)
    scene.reaches(second, "committed")
    scene.judges(second)
    assert "2099-06-01" in clock_events(scene)[0]
    scene.every_part_once()


@pytest.mark.parametrize(
    ("now_s", "word"),
    [(0.0, "1970-01-01"), (1000.0 - SLACK_S - 1, "certainly"), (1000.0 - SLACK_S, ""),
     (2000.0, ""), (2001.0, "certificate")],
)  # fmt: skip
def test_a_clock_is_wrong_before_what_has_been_and_after_the_devices_own_end(
    now_s: float, word: str
) -> None:
    trouble = clock_trouble(now_s, floor_s=1000.0, end_s=2000.0)
    assert word in trouble
    assert bool(trouble) == bool(word)
