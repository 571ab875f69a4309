"""The repositories as folders: set up once, published whole, renewed in time."""

from pathlib import Path
from threading import Barrier, Thread

import pytest

from fleet_contract.errors import ContractError, ResourceError, StateError, TrustError
from fleet_contract.trust.custom import Assignment
from fleet_server.trust import repository, setup
from fleet_server.trust.director import Assigned
from fleet_server.trust.files import write_atomic
from tests.support.trust import TrustBench, image_custom

DAY_S = 86_400.0


@pytest.fixture
def bench(tmp_path: Path) -> TrustBench:
    return TrustBench(tmp_path)


def assigned(digest: str = "a" * 64, line: str = "watch-case", attempt: int = 1) -> Assigned:
    return Assigned(digest, 5, Assignment(line=line, slot="active", rollout="1", attempt=attempt))


def test_setting_up_again_changes_no_file(bench: TrustBench) -> None:
    before = {path: path.read_bytes() for path in bench.folder.rglob("*") if path.is_file()}
    setup.create(bench.folder / "server", clock=bench.clock)
    assert {p: p.read_bytes() for p in bench.folder.rglob("*") if p.is_file()} == before


def test_private_keys_are_readable_by_their_owner_alone(bench: TrustBench) -> None:
    keys = list(bench.folder.rglob("*.pem"))
    assert len(keys) == 7
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


def test_a_folder_without_keys_says_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="loupe-server init"):
        setup.open_repositories(tmp_path)
    with pytest.raises(StateError, match="loupe-server init"):
        setup.newest_roots(tmp_path)


@pytest.mark.parametrize(
    "path", ["image/../keys/image-online.pem", "image/root.json", "keys/x", "image/0.root.json", ""]
)
def test_nothing_but_metadata_is_served(bench: TrustBench, path: str) -> None:
    assert bench.repositories.serve("station-1", path) is None


def test_a_device_with_a_name_that_climbs_out_is_refused(bench: TrustBench) -> None:
    with pytest.raises(ContractError, match="no device's name"):
        bench.repositories.director.serve("../image", "timestamp.json")


def test_a_draft_below_the_threshold_is_not_published(bench: TrustBench) -> None:
    draft = bench.repositories.image.draft("a" * 64, 5, image_custom())
    with pytest.raises(StateError, match="signatures of 2 keys; found 0"):
        bench.repositories.image.publish(draft)


def test_a_bundle_is_drafted_once(bench: TrustBench) -> None:
    digest = bench.publish(b"bundle")
    with pytest.raises(StateError, match="already"):
        bench.repositories.image.draft(digest, 6, image_custom())


def test_a_crash_before_the_timestamp_leaves_the_old_state_and_is_repaired(
    bench: TrustBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    director = bench.repositories.director
    director.assign("station-1", [assigned()])
    genuine = write_atomic

    def die(path: Path, data: bytes, mode: int = 0o644) -> None:
        if path.name == "timestamp.json":
            raise KeyboardInterrupt
        genuine(path, data, mode)

    with monkeypatch.context() as killed:
        killed.setattr(repository, "write_atomic", die)
        with pytest.raises(KeyboardInterrupt):
            director.assign("station-1", [assigned("b" * 64)])
    again = setup.open_repositories(bench.folder / "server", clock=bench.clock)
    assert again.director.assigned("station-1") == (assigned(),)
    assert again.director.assign("station-1", [assigned("c" * 64)]) == 2
    with pytest.raises(TrustError, match="does not know it"):
        bench.client().refresh()
    assert director.serve("station-1", "2.targets.json") is not None


def test_the_same_assignment_again_publishes_nothing(bench: TrustBench) -> None:
    director = bench.repositories.director
    both = [assigned(line="tiles"), assigned()]
    assert director.assign("station-1", both) == 1
    assert director.assign("station-1", both[::-1]) == 1
    assert director.assign("station-1", [assigned(attempt=2)]) == 2


def test_metadata_are_renewed_at_half_of_their_time_and_not_before(bench: TrustBench) -> None:
    client = bench.client()
    client.refresh()
    bench.clock.advance(3 * DAY_S)
    assert not bench.repositories.image.renew()
    assert not bench.repositories.director.renew("station-1")
    for _ in range(40):
        bench.clock.advance(3 * DAY_S)
        bench.repositories.image.renew()
        bench.repositories.director.renew("station-1")
        assert client.refresh() == []


def test_a_damaged_repository_says_so(bench: TrustBench) -> None:
    (bench.repositories.image.folder / "1.targets.json").write_bytes(b"")
    with pytest.raises(StateError, match="is damaged"):
        bench.repositories.image.published()


def test_an_assignment_and_a_first_question_at_the_same_time_lose_nothing(
    bench: TrustBench,
) -> None:
    director = bench.repositories.director
    for number in range(20):
        device = f"station-{number}"
        start = Barrier(2)

        def ask(device: str = device, start: Barrier = start) -> None:
            start.wait()
            director.serve(device, "timestamp.json")

        asking = Thread(target=ask)
        asking.start()
        start.wait()
        director.assign(device, [assigned()])
        asking.join()
        again = setup.open_repositories(bench.folder / "server", clock=bench.clock)
        assert again.director.assigned(device) == (assigned(),)
