"""Killed at any instant, the agent goes on where it stood: no part lost, none twice, no half bundle."""

import random
import resource
import time

import pytest

from tests.support.instants import Instant, drawn, instants
from tests.support.scene import Scene
from tests.support.sudden_death import Suffering
from tests.support.wait import eventually


def committed(scene: Scene) -> str:
    digest = scene.release()
    scene.server.assign(scene.device, digest)
    scene.reaches(digest, "committed")
    return digest


@pytest.mark.parametrize("state", ["fetching", "self_test", "probation"])
def test_killed_in_any_state_of_an_update_it_carries_on(scene: Scene, state: str) -> None:
    station = scene.station(probation=15)
    station.start()
    first = committed(scene)
    second = scene.release(gain=8.0)
    scene.server.assign(scene.device, second, rollout="r2")
    scene.reaches(second, state)
    station.kill()
    station.start()
    scene.reaches(second, "committed")
    scene.becomes_active(second)
    scene.every_part_once()
    assert {v.digest for v in scene.server.verdicts(scene.device)} <= {None, first, second}


def test_killed_again_and_again_at_random_no_part_is_lost_or_counted_twice(scene: Scene) -> None:
    chance = random.Random(7)
    station = scene.station(probation=15, rate=10)
    station.start()
    committed(scene)
    second = scene.release(gain=8.0)
    scene.server.assign(scene.device, second, rollout="r2", slot="shadow")
    for _ in range(6):
        time.sleep(chance.uniform(0.05, 1.2))
        station.kill()
        station.start()
    eventually(
        lambda: scene.steps(second) and scene.steps(second)[-1] in ("shadow", "failed"), 30,
        "the update came to an end",
    )  # fmt: skip
    before = len(scene.numbers())
    eventually(lambda: len(scene.numbers()) > before + 10, 30, "it goes on")
    scene.every_part_once()


def test_killed_at_any_system_call_of_an_update_it_starts_with_a_proven_bundle(
    scene: Scene,
) -> None:
    chance = random.Random(4)
    suffering = Suffering(scene, chance)
    suffering.begin()
    instants = [one for one in suffering.watch() if one.call in ("fdatasync", "rename", "pwrite64")]
    found = [suffering.die(one, again=n == 3) for n, one in enumerate(drawn(instants, 4, chance))]
    assert [one for one in found if one and not (one.verified and one.ended)] == []
    assert sum(one.lost for one in found if one) == 0
    assert any(found), "a kill that comes after the update's end is none"


def test_a_bundle_with_which_the_agent_keeps_dying_is_rolled_back_at_start(scene: Scene) -> None:
    station = scene.station(probation=5_000)
    station.start()
    first = scene.release()
    scene.server.assign(scene.device, first)
    scene.reaches(first, "probation")
    for _ in range(2):
        scene.judges(first)
        station.kill()
        station.start()
    scene.reaches(first, "rolled_back")
    event = next(
        e for e in scene.server.events(scene.device, "update") if e.data["state"] == "rolled_back"
    )
    assert event.data["failure"] == "crash"
    assert "died 2 times" in event.text
    scene.every_part_once()


def test_after_a_death_on_probation_the_line_starts_with_the_bundle_before(scene: Scene) -> None:
    station = scene.station()
    station.start()
    first = committed(scene)
    station.stop()
    text = station.config.read_text()
    station.config.write_text(text.replace("parts = 10", "parts = 5000"))
    station.start()
    second = scene.release(gain=8.0)
    scene.server.assign(scene.device, second, rollout="r2")
    scene.judges(second)
    station.kill()
    lines = station.output_lines
    station.start()
    eventually(lambda: scene.steps(second).count("probation") == 2, 30, "it is tried again")
    assert first in station.told_lines(lines)[0]
    station.kill()
    station.start()
    scene.reaches(second, "rolled_back")
    scene.judges(first)
    scene.every_part_once()


def test_a_candidate_with_which_the_agent_keeps_dying_is_dropped(scene: Scene) -> None:
    station = scene.station()
    station.start()
    first = committed(scene)
    second = scene.release(gain=8.0)
    scene.server.assign(scene.device, second, rollout="r2", slot="shadow")
    scene.reaches(second, "shadow")
    for _ in range(2):
        scene.judges(first)
        station.kill()
        station.start()
    scene.reaches(second, "failed")
    scene.judges(first)
    eventually(lambda: scene.line().candidate is None, 10, "the device says so")
    scene.every_part_once()


def test_clean_restarts_are_no_deaths(scene: Scene) -> None:
    station = scene.station(probation=5_000)
    station.start()
    first = scene.release()
    scene.server.assign(scene.device, first)
    scene.reaches(first, "probation")
    for _ in range(3):
        scene.judges(first)
        assert station.stop() == 0
        station.start()
    scene.judges(first)
    assert "rolled_back" not in scene.steps(first)


def test_a_full_disk_does_not_stop_inspection_and_costs_no_part(scene: Scene) -> None:
    station = scene.station()
    station.start()
    digest = committed(scene)
    assert station.process is not None
    station.limit_files(4096)
    lines = station.output_lines
    eventually(lambda: "cannot be stored" in station.log, 30, "the disk is full")
    heartbeat = scene.server.heartbeats[-1].parts
    eventually(lambda: scene.server.heartbeats[-1].parts > heartbeat + 20, 30, "it inspects on")
    assert station.output_lines == lines or station.output_lines > 0
    station.limit_files(resource.RLIM_INFINITY)
    scene.judges(digest)
    scene.every_part_once()


def test_a_disk_without_room_for_a_bundle_is_a_clear_failure(scene: Scene) -> None:
    station = scene.station()
    text = station.config.read_text()
    station.config.write_text(text.replace('disk_reserve = "1MB"', 'disk_reserve = "900000GB"'))
    station.start()
    digest = scene.release()
    scene.server.assign(scene.device, digest)
    scene.reaches(digest, "failed")
    event = scene.server.events(scene.device, "update")[-1]
    assert event.data["failure"] == "disk"
    assert "bytes free" in event.text


def test_an_instant_is_when_the_first_thread_comes_to_its_kth_call() -> None:
    trace = [
        "1 100.0 fsync(3) = 0",
        "2 100.5 fsync(4 <unfinished ...>",
        "1 101.0 fsync(3) = 0",
        "2 101.5 <... fsync resumed>) = 0",
        "2 102.0 fsync(4) = 0",
        "2 103.0 rename(5) = 0",
    ]
    assert instants(trace) == [
        Instant("fsync", 1, 0.0), Instant("fsync", 2, 1.0), Instant("rename", 1, 3.0),
    ]  # fmt: skip


def test_drawn_instants_cover_every_kind_of_call_and_the_whole_course() -> None:
    known = [Instant("write", k, k / 100) for k in range(1, 201)]
    known += [Instant("rename", k, k / 2) for k in range(1, 5)]
    chosen = drawn(known, 50, random.Random(1))
    assert len(chosen) == 50
    assert {one.call for one in chosen} == {"write", "rename"}
    writes = [one.when for one in chosen if one.call == "write"]
    assert min(writes) < 20
    assert max(writes) > 180
    assert len(drawn(known, 1, random.Random(1))) == 1
