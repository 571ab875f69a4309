"""The device's verifier against the real repositories, and against what an attacker could do."""

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import pytest
from hypothesis import given, settings, strategies
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from fleet_contract.blocks import sha256
from fleet_contract.clock import ManualClock
from fleet_contract.errors import TransferError, TrustError
from fleet_contract.trust.client import AssignmentError
from fleet_contract.trust.floor import read_floors, write_floors
from fleet_contract.trust.keys import load_signer
from fleet_server.trust.files import ensure_key
from tests.support.trust import START_S, TrustBench, forge, image_custom

DAY_S = 86_400.0
DIGEST = sha256(b"bundle")


@pytest.fixture
def bench(tmp_path: Path) -> TrustBench:
    return TrustBench(tmp_path)


def test_a_device_without_assignments_is_given_nothing(bench: TrustBench) -> None:
    assert bench.client().refresh() == []


def test_an_assignment_on_which_both_agree_is_given(bench: TrustBench) -> None:
    digest = bench.publish(b"bundle")
    bench.assign("station-1", digest, 6, slot="shadow", rollout="7", attempt=2)
    [agreed] = bench.client().refresh()
    assert (agreed.line, agreed.digest, agreed.length) == ("watch-case", digest, 6)
    assert (agreed.assignment.slot, agreed.assignment.attempt) == ("shadow", 2)
    assert agreed.image.epoch == 1


def test_a_second_refresh_fetches_little(bench: TrustBench) -> None:
    bench.client().refresh()
    bench.fetched.clear()
    bench.client().refresh()
    assert sorted(bench.fetched) == [
        "director/2.root.json", "director/timestamp.json",
        "image/2.root.json", "image/timestamp.json",
    ]  # fmt: skip


def test_an_unreachable_server_is_a_transfer_error(bench: TrustBench) -> None:
    client = bench.client()

    def fail(path: str) -> bytes:
        raise TransferError(f"no answer for {path}")

    client._fetch = fail
    with pytest.raises(TransferError, match="no answer"):
        client.refresh()


def test_the_assignment_of_another_device_is_refused(bench: TrustBench) -> None:
    digest = bench.publish(b"bundle")
    bench.assign("station-2", digest, 6)
    director = bench.repositories.director
    for name in ("timestamp.json", "1.snapshot.json", "1.targets.json"):
        data = director.serve("station-2", name)
        assert data
        bench.substitutes[f"director/{name}"] = data
    with pytest.raises(TrustError, match="those of another device; expected station-1"):
        bench.client().refresh()


def test_a_bundle_that_the_image_repository_does_not_know_is_refused(bench: TrustBench) -> None:
    bench.assign("station-1", "a" * 64, 6)
    with pytest.raises(AssignmentError, match="does not know it") as refusal:
        bench.client().refresh()
    assert (refusal.value.digest, refusal.value.rollout) == ("a" * 64, "1")


def test_a_length_that_differs_between_the_two_is_refused(bench: TrustBench) -> None:
    digest = bench.publish(b"bundle")
    bench.assign("station-1", digest, 7)
    with pytest.raises(AssignmentError, match="disagree about its length or digest"):
        bench.client().refresh()


def test_a_bundle_for_other_hardware_is_refused(bench: TrustBench) -> None:
    digest = bench.publish(b"bundle", image_custom(hardware="raspberry-pi-5"))
    bench.assign("station-1", digest, 6)
    with pytest.raises(
        AssignmentError, match="built for raspberry-pi-5, this device is x86-64-box"
    ):
        bench.client().refresh()


def test_an_epoch_below_the_devices_floor_is_refused(bench: TrustBench) -> None:
    digest = bench.publish(b"bundle", image_custom(epoch=2))
    bench.assign("station-1", digest, 6)
    assert bench.client(epoch_floor=2).refresh()
    with pytest.raises(AssignmentError, match="epoch 2 lies below the lowest allowed, 3"):
        bench.client(epoch_floor=3).refresh()


def test_an_epoch_below_the_signed_floor_of_the_line_is_refused(bench: TrustBench) -> None:
    old = bench.publish(b"old", image_custom(epoch=1))
    bench.assign("station-1", old, 3)
    assert bench.client().refresh()
    raised = bench.repositories.image.published().targets
    raised.signed.version += 1
    raised.signed.unrecognized_fields["loupe"] = {"min_epoch": {"watch-case": 2}}
    raised.signatures.clear()
    for name in ("pipeline.pem", "approver.pem"):
        raised.sign(load_signer(bench.key(name)), append=True)
    bench.repositories.image.publish(raised.to_bytes())
    with pytest.raises(AssignmentError, match="epoch 1 lies below the lowest allowed, 2"):
        bench.client().refresh()


def test_mixed_files_of_two_states_are_refused(bench: TrustBench) -> None:
    first, second = bench.publish(b"first"), bench.publish(b"second")
    bench.assign("station-1", first, 5)
    old = bench.repositories.director.serve("station-1", "1.targets.json")
    assert old
    bench.assign("station-1", second, 6)
    bench.substitutes["director/2.targets.json"] = old
    with pytest.raises(TrustError, match="director repository"):
        bench.client().refresh()


def test_endless_metadata_are_cut_off(bench: TrustBench) -> None:
    bench.substitutes["director/timestamp.json"] = b" " * 100_000
    with pytest.raises(TrustError, match="more bytes than it may"):
        bench.client().refresh()


@settings(max_examples=60, deadline=None)
@given(data=strategies.data())
def test_no_flipped_byte_changes_what_is_agreed(data: strategies.DataObject) -> None:
    with TemporaryDirectory() as name:
        bench = _golden_bench(Path(name))
        files = ["image/timestamp.json", "image/2.snapshot.json", "image/2.targets.json",
                 "director/timestamp.json", "director/1.snapshot.json", "director/1.targets.json"]  # fmt: skip
        path = data.draw(strategies.sampled_from(files))
        content = bytearray(bench.repositories.serve("station-1", path) or b"")
        position = data.draw(strategies.integers(0, len(content) - 1))
        content[position] ^= 1 << data.draw(strategies.integers(0, 7))
        bench.substitutes[path] = bytes(content)
        try:
            agreed = bench.client().refresh()
        except TrustError:
            return
        assert [(a.digest, a.length, a.assignment.attempt) for a in agreed] == [(DIGEST, 6, 1)]


@cache
def _golden_folder() -> Path:
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder)
    bench = TrustBench(folder)
    bench.publish(b"bundle")
    bench.assign("station-1", DIGEST, 6)
    return folder


def _golden_bench(folder: Path) -> TrustBench:
    """A bench over a copy of one that was made once."""
    shutil.copytree(_golden_folder(), folder, dirs_exist_ok=True)
    return TrustBench(folder)


def test_a_bundle_of_one_line_is_not_taken_for_another(bench: TrustBench) -> None:
    digest = bench.publish(b"bundle")
    bench.assign("station-1", digest, 6, line="tiles")
    with pytest.raises(AssignmentError, match="does not know it"):
        bench.client().refresh()


def test_going_back_to_an_older_bundle_by_a_new_version_is_accepted(bench: TrustBench) -> None:
    first, second = bench.publish(b"first"), bench.publish(b"second")
    for attempt, digest in enumerate((first, second, first), start=1):
        length = 5 if digest == first else 6
        bench.assign("station-1", digest, length, attempt=attempt)
        assert bench.client().refresh()[0].digest == digest


def test_replayed_metadata_of_the_director_are_refused(bench: TrustBench) -> None:
    first = bench.publish(b"first")
    bench.assign("station-1", first, 5)
    old = bench.repositories.director.serve("station-1", "timestamp.json")
    assert old
    bench.assign("station-1", bench.publish(b"second"), 6)
    client = bench.client()
    client.refresh()
    bench.substitutes["director/timestamp.json"] = old
    with pytest.raises(TrustError, match="older metadata was offered by the director repository"):
        client.refresh()


def test_a_device_that_lost_its_metadata_still_refuses_a_replay(bench: TrustBench) -> None:
    bench.assign("station-1", bench.publish(b"first"), 5)
    old = {
        name: bench.repositories.director.serve("station-1", name)
        for name in ("timestamp.json", "1.snapshot.json", "1.targets.json")
    }
    bench.assign("station-1", bench.publish(b"second"), 6)
    bench.client().refresh()
    shutil.rmtree(bench.folder / "station-1" / "director")
    bench.substitutes = {f"director/{name}": data for name, data in old.items() if data}
    with pytest.raises(TrustError, match="timestamp version 1 after 2"):
        bench.client().refresh()
    bench.substitutes.clear()
    assert bench.client().refresh()


def test_corrupt_local_metadata_are_fetched_again(bench: TrustBench) -> None:
    digest = bench.publish(b"bundle")
    bench.assign("station-1", digest, 6)
    bench.client().refresh()
    for path in sorted((bench.folder / "station-1").rglob("*.json")):
        if path.name != "floor.json" and not path.is_symlink():
            path.write_bytes(b"\0" * 50)
    assert bench.client().refresh()[0].digest == digest


def test_a_corrupt_floor_is_an_error_and_not_a_fresh_start(bench: TrustBench) -> None:
    bench.client().refresh()
    (bench.folder / "station-1" / "floor.json").write_bytes(b"")
    with pytest.raises(TrustError, match=r"floor\.json cannot be read"):
        bench.client().refresh()


def test_a_list_signed_by_one_of_two_keys_is_refused(bench: TrustBench) -> None:
    digest = bench.publish(b"bundle")
    bench.assign("station-1", digest, 6)
    published = bench.repositories.image.published().targets
    published.signatures.popitem()
    forge(bench.repositories.image.folder, bench.online_key("image"), published, version=9)
    with pytest.raises(TrustError, match="targets are signed by 1 of 2 needed keys"):
        bench.client().refresh()


def test_a_flipped_byte_in_metadata_is_refused(bench: TrustBench) -> None:
    data = bench.repositories.image.serve("1.targets.json")
    assert data
    bench.substitutes["image/1.targets.json"] = data.replace(b'"targets":{}', b'"targets":{} ')
    with pytest.raises(TrustError, match="image repository"):
        bench.client().refresh()


def test_a_frozen_repository_expires(bench: TrustBench) -> None:
    client = bench.client()
    client.refresh()
    bench.clock.advance(8 * DAY_S)
    with pytest.raises(TrustError, match="have expired"):
        client.refresh()
    bench.repositories.director.renew("station-1")
    bench.repositories.image.renew()
    client.refresh()


def test_the_time_floor_moves_by_signed_times_and_not_by_the_clock(bench: TrustBench) -> None:
    bench.client().refresh()
    bench.clock.advance(3 * DAY_S)
    bench.client().refresh()
    assert read_floors(bench.folder / "station-1").time_s == START_S
    bench.clock.advance(3 * DAY_S)
    bench.repositories.image.renew()
    bench.client().refresh()
    assert read_floors(bench.folder / "station-1").time_s == START_S + 6 * DAY_S


def test_a_clock_in_1970_accepts_nothing_that_had_expired_at_the_last_signed_time(
    bench: TrustBench,
) -> None:
    bench.client().refresh()
    folder = bench.folder / "station-1"
    assert bench.client(clock=ManualClock(0.0)).refresh() == []
    write_floors(folder, read_floors(folder).at_least(START_S + 30 * DAY_S))
    with pytest.raises(TrustError, match="have expired"):
        bench.client(clock=ManualClock(0.0)).refresh()


def test_a_new_device_with_a_clock_in_1970_judges_by_its_build_time(bench: TrustBench) -> None:
    with pytest.raises(TrustError, match="have expired"):
        bench.client(clock=ManualClock(0.0), build_time_s=START_S + 30 * DAY_S).refresh()


def test_a_boot_in_2099_poisons_nothing(bench: TrustBench) -> None:
    with pytest.raises(TrustError, match="have expired"):
        bench.client(clock=ManualClock(4_080_000_000.0)).refresh()
    assert bench.client().refresh() == []


def test_new_online_keys_lift_the_floor_that_a_thief_had_raised(bench: TrustBench) -> None:
    client, folder = bench.client(), bench.folder / "server" / "trust" / "director"
    client.refresh()
    stolen = bench.online_key("director")
    targets = Metadata[Targets].from_file(str(folder / "station-1" / "1.targets.json"))
    forge(folder / "station-1", stolen, targets, version=1000)
    client.refresh()

    fresh = ensure_key(bench.folder / "fresh.pem")
    root = Metadata[Root].from_file(str(folder / "1.root.json"))
    root.signed.version = 2
    root.signatures.clear()
    for role in (Timestamp.type, Snapshot.type, Targets.type):
        root.signed.revoke_key(stolen.public_key.keyid, role)
        root.signed.add_key(fresh.public_key, role)
    for number in (1, 2):
        root.sign(load_signer(bench.key(f"root-{number}.pem")), append=True)
    root.to_file(str(folder / "2.root.json"))
    targets.sign(fresh)
    forge(folder / "station-1", fresh, targets, version=3)
    assert client.refresh() == []

    shutil.rmtree(bench.folder / "station-1" / "director")
    (folder / "2.root.json").unlink()
    with pytest.raises(TrustError, match="root version 1 after 2"):
        client.refresh()


def test_a_root_signed_by_one_of_two_keys_is_refused(bench: TrustBench) -> None:
    root = Metadata[Root].from_file(
        str(bench.folder / "server" / "trust" / "director" / "1.root.json")
    )
    root.signed.version = 2
    root.sign(load_signer(bench.key("root-1.pem")))
    bench.substitutes["director/2.root.json"] = root.to_bytes()
    with pytest.raises(TrustError, match="root are signed by 1 of 2 needed keys"):
        bench.client().refresh()
