"""What a thief of one key alone can do, and what a server that forgot can: by real repositories."""

import shutil
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Targets

from fleet_contract.errors import TrustError
from fleet_contract.trust.client import AssignmentError, NotThere, TrustClient
from fleet_contract.trust.custom import DIRECTOR, IMAGE, Assignment
from fleet_server.rollouts.controller import Controller
from fleet_server.trust import setup
from fleet_server.trust.director import Assigned, DirectorRepository
from fleet_server.trust.repository import Lifetimes
from tests.support.deploy import LINE, Deploy
from tests.support.trust import START_S, TrustBench, forge, image_custom

AT_ONCE = {"stages": [{"name": "all", "min_parts": 0, "look_every_s": 1}]}


@pytest.fixture
def bench(tmp_path: Path) -> TrustBench:
    return TrustBench(tmp_path)


def thief(bench: TrustBench) -> DirectorRepository:
    """A director of one's own, over the genuine files, with the stolen key and nothing else."""
    return DirectorRepository(
        bench.folder / "server" / "trust" / DIRECTOR,
        online=bench.online_key(DIRECTOR),
        clock=bench.clock,
        lifetimes=Lifetimes(),
    )


def assigned(digest: str, length: int, slot: str = "active") -> Assigned:
    fields = {"line": "watch-case", "slot": slot, "rollout": "x", "attempt": 1}
    return Assigned(digest, length, Assignment.model_validate(fields))


def test_a_stolen_director_key_alone_brings_in_no_bundle_of_its_own(bench: TrustBench) -> None:
    old = bench.publish(b"old")
    bench.assign("station-1", bench.publish(b"good!", image_custom(epoch=2)), 5)
    device = bench.client(epoch_floor=2)
    device.refresh()
    thief(bench).assign("station-1", [assigned("e" * 64, 5)])
    with pytest.raises(AssignmentError, match="does not know it"):
        device.refresh()
    thief(bench).assign("station-1", [assigned(old, 3)])
    with pytest.raises(AssignmentError, match="epoch 1 lies below the lowest allowed, 2"):
        device.refresh()


def test_a_stolen_director_key_alone_moves_devices_between_approved_bundles(
    bench: TrustBench,
) -> None:
    first = bench.publish(b"first")
    bench.assign("station-1", bench.publish(b"second"), 6)
    device = bench.client()
    device.refresh()
    thief(bench).assign("station-1", [assigned(first, 5)])
    assert [agreed.digest for agreed in device.refresh()] == [first]


def test_a_stolen_timestamp_key_alone_brings_in_no_other_list(bench: TrustBench) -> None:
    bench.publish(b"first")
    folder = bench.repositories.image.folder
    older = Metadata[Targets].from_file(str(folder / "2.targets.json"))
    bench.publish(b"second")
    device, stolen = bench.client(), bench.online_key(IMAGE)
    device.refresh()
    genuine = (folder / "timestamp.json").read_bytes()

    forge(folder, stolen, older, version=9)
    with pytest.raises(TrustError, match=r"targets(\.json)? version|older metadata"):
        device.refresh()
    (folder / "timestamp.json").write_bytes(genuine)

    added = Metadata[Targets].from_file(str(folder / "3.targets.json"))
    added.signed.version, added.signed.targets = 4, {}
    added.sign(stolen)
    forge(folder, stolen, added, version=10)
    with pytest.raises(TrustError, match="targets are signed by 0 of 2 needed keys"):
        device.refresh()


def test_a_stolen_timestamp_key_alone_freezes_no_longer_than_the_list_stands(
    bench: TrustBench,
) -> None:
    device, stolen = bench.client(), bench.online_key(IMAGE)
    device.refresh()
    folder = bench.repositories.image.folder
    bench.clock.advance(366 * 86_400)
    bench.repositories.image.sign_again()
    assert stolen.public_key.keyid in (folder / "timestamp.json").read_text()
    bench.repositories.director.renew("station-1")
    with pytest.raises(
        TrustError, match="image repository's metadata have expired: New targets is"
    ):
        device.refresh()


def device_of(deploy: Deploy, folder: Path, epoch_floor: int = 0) -> TrustClient:
    def fetch(path: str) -> bytes:
        data = deploy.services.trust.serve("a", path)
        if data is None:
            raise NotThere(path)
        return data

    image_root, director_root = setup.newest_roots(deploy.folder)
    return TrustClient(
        folder,
        image_root=image_root,
        director_root=director_root,
        device="a",
        hardware="x",
        clock=deploy.clock,
        build_time_s=START_S,
        fetch=fetch,
        epoch_floor=lambda _line: epoch_floor,
    )


def test_a_rolled_back_database_moves_devices_by_new_versions_and_never_below_their_epoch(
    tmp_path: Path,
) -> None:
    deploy = Deploy(tmp_path / "server", devices=("a",))
    database, backup = deploy.folder / "loupe.db", tmp_path / "backup.db"
    first, second = deploy.approved(1), deploy.approved(2)
    number, controller = deploy.start(first, AT_ONCE), Controller(deploy.services)
    controller.tick()
    deploy.heard()
    deploy.report(number, "a", "committed")
    deploy.runs("a", first)
    for _ in range(3):
        deploy.clock.advance(2.0)
        controller.tick()
    assert deploy.rollout(number).state == "completed"
    deploy.services.database.close()
    shutil.copy(database, backup)

    deploy.reopen()
    device = device_of(deploy, tmp_path / "device")
    assert [agreed.digest for agreed in device.refresh()] == [first]
    deploy.start(second, AT_ONCE)
    Controller(deploy.services).tick()
    assert [agreed.digest for agreed in device.refresh()] == [second]
    seen = deploy.services.trust.director.version("a")

    deploy.services.database.close()
    for left_over in deploy.folder.glob("loupe.db-*"):
        left_over.unlink()
    shutil.copy(backup, database)
    deploy.reopen()
    Controller(deploy.services).start()
    assert deploy.services.trust.director.version("a") > seen
    assert [(one.digest, one.line) for one in device.refresh()] == [(first, LINE)]
    with pytest.raises(AssignmentError, match="lies below the lowest allowed, 5"):
        device_of(deploy, tmp_path / "device", epoch_floor=5).refresh()
