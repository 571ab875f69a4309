"""A whole station: from an assignment to a committed bundle and back, with no part lost."""

import pytest

from fleet_contract.blocks import sha256
from fleet_contract.messages import Stream
from fleet_contract.names import Verdict
from hil.story.crash import crashing_models
from tests.support.scene import Scene
from tests.support.wait import eventually

WHOLE_WAY = ["fetching", "verified", "staged", "self_test", "activating", "probation", "committed"]


def committed(scene: Scene, **changes: object) -> str:
    """A station's first bundle, committed."""
    digest = scene.release(**changes)
    scene.server.assign(scene.device, digest)
    scene.reaches(digest, "committed")
    return digest


def test_a_first_bundle_goes_the_whole_way(scene: Scene) -> None:
    station = scene.station()
    station.start()
    first = committed(scene)
    assert scene.steps(first) == WHOLE_WAY
    scene.becomes_active(first)
    eventually(lambda: scene.line().epoch_floor == 1, 10, "the floor is raised by the commit")
    state = scene.server.state(scene.device)
    assert state is not None
    assert state.runtime == "onnx/fp32"
    eventually(lambda: scene.server.heartbeats, 10, "a heartbeat")
    assert scene.server.heartbeats[-1].rss_bytes < 200 * 10**6
    assert station.stop() == 0
    verdicts = scene.server.verdicts(scene.device)
    scene.every_part_once()
    before = [v for v in verdicts if v.digest is None]
    assert {(v.verdict, v.reason) for v in before} <= {(Verdict.NO_DECISION, "model_not_ready")}
    windows = scene.server.windows(scene.device)
    assert sum(w.undecided.parts + sum(a.parts for a in w.arms.values()) for w in windows) == len(
        verdicts
    )
    assert all(len(w.arms) <= 1 for w in windows), "a swap closes the window"
    links = [status.online for name, status in scene.server.links if name == scene.device]
    assert (links[0], links[-1]) == (True, False)


def test_a_candidate_goes_through_shadow_and_canary_and_back(scene: Scene) -> None:
    scene.station(rate=40).start()
    first = committed(scene)
    second = scene.release(bias=3.0, reference_mean=0.7)
    scene.server.assign(scene.device, second, slot="shadow", rollout="r2")
    scene.reaches(second, "shadow")
    eventually(
        lambda: sum(w.shadow.pairs for w in scene.server.windows(scene.device) if w.shadow) > 10,
        20, "pairs are counted",
    )  # fmt: skip
    eventually(lambda: scene.server.samples(scene.device), 20, "disagreements are sent")
    sample = scene.server.samples(scene.device)[0]
    assert (sample.why, sample.candidate_digest) == ("disagreement", second)
    assert {sample.verdict, sample.candidate_verdict} == {Verdict.ACCEPT, Verdict.REJECT}
    assert scene.active() == first

    scene.server.assign(scene.device, second, slot="canary", rollout="r2")
    scene.reaches(second, "committed")
    scene.server.assign(scene.device, first, rollout="r2")
    scene.becomes_active(first)
    scene.judges(first)
    scene.every_part_once()


def test_bundles_that_fail_on_the_device_leave_the_active_one_running(scene: Scene) -> None:
    scene.station().start()
    first = committed(scene)
    failing = {
        "self_test": scene.release(golden_shift=0.2),
        "crash": scene.release(model=crashing_models()["onnx"]),
    }
    for failure, digest in failing.items():
        scene.server.assign(scene.device, digest, rollout=failure)
        scene.reaches(digest, "failed")
        event = next(
            e for e in scene.server.events(scene.device, "update")
            if e.digest == digest and e.data["state"] == "failed"
        )  # fmt: skip
        assert event.data["failure"] == failure
        assert event.severity == "error"
    scene.judges(first)
    scene.every_part_once()
    assert len(scene.server.events(scene.device, "started")) == 1, "the agent itself never crashed"


@pytest.mark.parametrize(
    ("file", "before", "after", "number", "limit"),
    [("board.toml", '"900MB"', '"64MB"', "peak_rss_bytes", "memory_limit_bytes"),
     ("station.toml", "[trial]", '[trial]\nmax_latency = "1us"', "latency_ms", "max_latency_ms")],
)  # fmt: skip
def test_a_bundle_beyond_the_devices_means_is_refused_with_both_numbers(
    scene: Scene, file: str, before: str, after: str, number: str, limit: str
) -> None:
    station = scene.station()
    station.start()
    first = committed(scene)
    station.stop()
    path = station.folder / file
    path.write_text(path.read_text().replace(before, after))
    station.start()
    second = scene.release(gain=8.0)
    scene.server.assign(scene.device, second, rollout="r2")
    scene.reaches(second, "failed")
    event = scene.server.events(scene.device, "update")[-1]
    numbers = event.data["numbers"]
    assert isinstance(numbers, dict)
    assert event.data["failure"] == "footprint"
    assert numbers[number] > numbers[limit]
    eventually(lambda: (update := scene.line().update) and update.state == "failed", 10, "told")
    update = scene.line().update
    assert update is not None
    assert update.failure == "footprint"
    assert "are allowed" in update.reason
    assert scene.line().candidate is None
    scene.judges(first)
    scene.every_part_once()


def test_an_attempt_that_failed_is_not_tried_again_but_the_next_one_is(scene: Scene) -> None:
    station = scene.station()
    station.start()
    committed(scene)
    bad = scene.release(golden_shift=0.2)
    scene.server.assign(scene.device, bad, rollout="r2")
    scene.reaches(bad, "failed")
    station.stop()
    station.start()
    eventually(lambda: len(scene.server.events(scene.device, "started")) == 2, 20, "started again")
    scene.server.assign(scene.device, bad, rollout="r3", attempt=2)
    eventually(lambda: scene.steps(bad).count("failed") == 2, 30, "the second attempt failed too")
    assert scene.steps(bad).count("fetching") == 2


def test_a_bundle_that_fails_probation_goes_back_by_itself(scene: Scene) -> None:
    scene.station().start()
    first = committed(scene)
    shifted = scene.release(bias=-4.0, reference_mean=0.95, name="shifted")
    scene.server.assign(scene.device, shifted, rollout="r2")
    scene.reaches(shifted, "rolled_back")
    scene.becomes_active(first)
    scene.judges(first)
    scene.every_part_once()


def test_a_block_that_is_wrong_again_and_again_fails_the_bundle(scene: Scene) -> None:
    scene.station().start()
    digest = scene.release()
    scene.server.corrupt = {0: b"\0" * 100}
    scene.server.assign(scene.device, digest)
    scene.reaches(digest, "failed")
    event = scene.server.events(scene.device, "update")[-1]
    assert event.data["failure"] == "bundle"
    assert "block 0" in event.text


def test_blocks_that_the_broadcast_lost_are_asked_for(scene: Scene) -> None:
    scene.server.broadcasting = False
    scene.station().start()
    committed(scene)
    assert {"join", "hashes", "blocks"} <= {request.op for request in scene.server.requests}


def test_a_bundle_below_the_floor_is_refused_with_a_reason(scene: Scene) -> None:
    scene.station().start()
    committed(scene, epoch=3)
    old = scene.release(epoch=2, name="old")
    scene.server.assign(scene.device, old, rollout="r2")
    eventually(lambda: scene.server.events(scene.device, "refused"), 20, "it is refused")
    event = scene.server.events(scene.device, "refused")[0]
    assert event.digest == old
    assert "epoch 2" in event.text
    assert event.data["class"] == "trust"


def test_requested_samples_arrive_with_their_images(scene: Scene) -> None:
    scene.station().start()
    committed(scene)
    scene.server.command(scene.device, id="c1", op="sample", line="watch-case", count=6)
    eventually(lambda: len(scene.server.samples(scene.device)) == 6, 20, "six samples")
    for sample in scene.server.samples(scene.device):
        blocks = scene.server.images[sample.sample_id]
        assert sample.why == "requested"
        assert sha256(b"".join(blocks[n] for n in range(1, sample.blocks + 1))) == sample.sha256
    eventually(lambda: scene.server.events(scene.device, "command"), 20, "the answer")
    assert scene.server.events(scene.device, "command")[0].data["id"] == "c1"


def test_a_broker_outage_costs_no_part_and_no_record(own_scene: Scene) -> None:
    station = own_scene.station()
    station.start()
    digest = committed(own_scene)
    own_scene.broker.stop()
    before = len(own_scene.server.verdicts(own_scene.device))
    station_output = station.folder / "verdicts.jsonl"
    lines = len(station_output.read_text().splitlines())
    eventually(
        lambda: len(station_output.read_text().splitlines()) > lines + 30, 20,
        "inspection goes on without the broker",
    )  # fmt: skip
    assert len(own_scene.server.verdicts(own_scene.device)) == before
    own_scene.broker.start()
    eventually(
        lambda: len(own_scene.server.verdicts(own_scene.device)) > before + 30, 30, "it catches up"
    )
    own_scene.judges(digest)
    own_scene.every_part_once()
    assert station.log.count("no link to the broker") == 1


def test_what_the_spool_had_to_drop_is_a_gap_and_the_rest_arrives(scene: Scene) -> None:
    station = scene.station(spool_limit="20kB", rate=40)
    scene.server.silent = True
    station.start()
    output = station.folder / "verdicts.jsonl"
    eventually(lambda: output.exists() and len(output.read_text().splitlines()) > 250, 30, "parts")
    scene.server.silent = False
    eventually(lambda: len(scene.server.verdicts(scene.device)) > 250, 30, "verdicts arrive")
    eventually(
        lambda: any(r.gap for r in scene.server.stored(scene.device, Stream.WINDOWS)), 20,
        "windows went first, and left a gap",
    )  # fmt: skip
    scene.every_part_once()


def test_a_second_agent_in_the_same_folder_is_refused(scene: Scene) -> None:
    station = scene.station()
    station.start()
    eventually(lambda: scene.server.events(scene.device, "started"), 20, "the first one runs")
    second = station.call("run")
    assert second.returncode == 2
    assert "another agent works in" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_second_agent_with_the_same_identity_is_noticed(scene: Scene) -> None:
    for folder in ("one", "two"):
        scene.station(folder).start()
    eventually(
        lambda: any("uses this identity" in e.text for e in scene.server.events(scene.device)),
        60, "it is noticed",
    )  # fmt: skip


def test_the_operator_rolls_back_without_the_server(scene: Scene) -> None:
    station = scene.station()
    station.start()
    first = committed(scene)
    none = station.call("rollback", "--line", "watch-case")
    assert none.returncode == 2
    assert "no previous bundle" in none.stderr
    second = scene.release(gain=8.0)
    scene.server.assign(scene.device, second, rollout="r2")
    scene.reaches(second, "committed")
    scene.server.stop()
    done = station.call("rollback", "--line", "watch-case")
    assert done.returncode == 0, done.stderr
    eventually(lambda: first in station.call("status", "--json").stdout.split('"previous"')[0], 20,
               "the first one is active again")  # fmt: skip
    scene.server.start()
    scene.becomes_active(first)
    scene.judges(first)
    scene.reaches(second, "rolled_back")
