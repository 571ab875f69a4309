"""A disk that fails or is full: the agent inspects with a proven bundle, loses no part, and says so."""

import random
from pathlib import Path

import pytest

from tests.support.instants import drawn
from tests.support.scene import Scene
from tests.support.station import Station
from tests.support.strace import attached, failing, under
from tests.support.sudden_death import Suffering
from tests.support.wait import eventually

WRITES = ("pwrite64", "write", "ftruncate", "fallocate", "mkdir")


def written(station: Station) -> list[Path]:
    """Every file that a start writes."""
    data = station.folder / "data"
    names = ("agent.db", "agent.db-wal", "agent.db-shm", "agent.lock", "agent.log", "box.address")
    return [data / name for name in names]


def committed(scene: Scene, station: Station) -> str:
    station.start()
    digest = scene.release()
    scene.server.assign(scene.device, digest)
    scene.reaches(digest, "committed")
    return digest


def tells_of_the_disk(scene: Scene) -> bool:
    faults = scene.server.events(scene.device, "fault")
    return any("could not be stored" in event.text for event in faults)


@pytest.mark.parametrize(
    ("calls", "error"), [(("fdatasync",), "EIO"), (("pwrite64",), "EIO"), (("pwrite64",), "ENOSPC")]
)
def test_a_disk_that_fails_under_it_costs_no_part(
    scene: Scene, calls: tuple[str, ...], error: str
) -> None:
    station = scene.station()
    digest = committed(scene, station)
    assert station.process is not None
    with attached(station.process.pid, failing(calls, error, written(station))):
        eventually(lambda: "cannot be stored" in station.log, 30, "storing fails")
        lines = station.output_lines
        eventually(lambda: station.output_lines > lines + 20, 30, "it inspects on")
    scene.judges(digest)
    scene.every_part_once()
    eventually(lambda: tells_of_the_disk(scene), 30, "it says what went wrong")
    assert len(scene.server.events(scene.device, "started")) == 1, "it did not even stop"


@pytest.mark.parametrize("death", [True, False], ids=["after a kill", "after a clean end"])
def test_on_a_full_disk_it_starts_with_the_bundle_that_it_has(scene: Scene, death: bool) -> None:
    station = scene.station()
    digest = committed(scene, station)
    station.kill() if death else station.stop()
    lines = station.output_lines
    station.start(under(failing(WRITES, "ENOSPC", written(station))))
    eventually(lambda: station.output_lines > lines + 5, 30, "it inspects")
    assert all(digest in line for line in station.told_lines(lines))
    station.kill()
    station.start()
    scene.judges(digest)
    scene.every_part_once()


def test_an_error_at_any_system_call_of_an_update_costs_no_part(scene: Scene) -> None:
    chance = random.Random(5)
    suffering = Suffering(scene, chance)
    suffering.begin()
    kinds = ("openat", "pwrite64", "write", "fsync", "rename", "unlink", "pread64")
    instants = [one for one in suffering.watch() if one.call in kinds]
    found = [
        suffering.suffer(one, error, calls)
        for one, error, calls in zip(
            drawn(instants, 3, chance), ["EIO", "ENOSPC", "EIO"], [1, 3, 1], strict=True
        )
    ]
    assert [one for one in found if not (one.verified and one.ended)] == []
    assert sum(one.lost for one in found) == 0


def damage(station: Station, digest: str) -> None:
    """Another threshold in the manifest; every other file stays as it is."""
    path = station.folder / "data" / "bundles" / digest / "manifest.json"
    text = path.read_text()
    assert '"threshold": 0.5' in text
    path.write_text(text.replace('"threshold": 0.5', '"threshold": 0.4'))


def test_a_damaged_manifest_is_not_believed_and_the_bundle_before_judges(scene: Scene) -> None:
    station = scene.station()
    first = committed(scene, station)
    second = scene.release(gain=8.0)
    scene.server.assign(scene.device, second, rollout="r2")
    scene.reaches(second, "committed")
    station.stop()
    damage(station, second)
    lines = station.output_lines
    station.start()
    scene.judges(first)
    assert second not in "".join(station.told_lines(lines))
    texts = [event.text for event in scene.server.events(scene.device, "fault")]
    assert any("changed after it was unpacked" in text for text in texts)
    scene.every_part_once()


def test_a_damaged_bundle_with_none_before_it_is_fetched_again(scene: Scene) -> None:
    station = scene.station()
    digest = committed(scene, station)
    station.stop()
    damage(station, digest)
    station.start()
    eventually(lambda: scene.steps(digest).count("committed") == 2, 30, "it is whole again")
    scene.judges(digest)
    scene.every_part_once()
