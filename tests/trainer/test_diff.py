"""What changed between two versions, and what a version holds."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fleet_contract.dataset import DatasetItem, DatasetVersion
from tests.trainer.versions import changed, put, region, version_of
from trainer.cli import app
from trainer.data.diff import diff
from trainer.data.scan import Seen, image_facts, mask_facts
from trainer.data.statistics import DatasetStatistics, defect_sizes, describe
from trainer.data.store import Store

RUNNER = CliRunner()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def items(store: Store) -> list[DatasetItem]:
    return [*(put(store, n) for n in range(6)), *(put(store, n, "scratch") for n in range(6, 10))]


@pytest.fixture
def versions(store: Store, items: list[DatasetItem]) -> tuple[DatasetVersion, DatasetVersion]:
    """One version, and the next: one image out, one in, one label and one mask corrected."""
    old = version_of(items)
    new = changed(items, 7, label="stain")
    new = [*changed(new, 6, mask=None)[1:], put(store, 20, slices={"camera": "2"})]
    store.put_version(old)
    next_ = version_of(new, parent=old.digest(), reason="labels looked at again")
    store.put_version(next_)
    return old, next_


def test_every_kind_of_change_is_found(versions: tuple[DatasetVersion, DatasetVersion]) -> None:
    found = diff(*versions)
    assert [(one.image, one.part) for one in found.added] == [("20.png", "p20")]
    assert [one.image for one in found.removed] == ["0.png"]
    relabelled = found.changed["relabelled"]
    assert [(one.image, one.before, one.after) for one in relabelled] == [
        ("7.png", "scratch", "stain")
    ]
    assert [(one.image, one.after) for one in found.changed["remasked"]] == [("6.png", "none")]
    assert found.summary() == "+1 -1, 1 relabelled, 1 remasked"


def test_a_version_does_not_differ_from_itself(items: list[DatasetItem]) -> None:
    found = diff(version_of(items), version_of(list(reversed(items))))
    assert found.summary() == "nothing"
    assert found.old == found.new


def test_what_moved_is_told_by_part(items: list[DatasetItem]) -> None:
    moved = changed(changed(items, 1, split="train"), 2, split="holdout")
    found = diff(version_of(items), version_of(moved))
    assert found.moved_parts == ["p1", "p2"]
    assert [(c.before, c.after) for c in found.changed["moved"]] == [
        ("holdout", "train"),
        ("train", "holdout"),
    ]


def test_regions_groups_slices_and_appraisals_count(items: list[DatasetItem]) -> None:
    new = changed(items, 6, regions=(region("scratch", 1, 2, 3, 4),))
    new = changed(new, 1, group="p3")
    new = changed(new, 2, slices={"camera": "2"})
    new = changed(new, 3, appraisals={"ada": "good"})
    found = diff(version_of(items), version_of(new)).changed
    assert {kind: [one.image for one in changes] for kind, changes in found.items() if changes} == {
        "remasked": ["6.png"], "regrouped": ["1.png"], "resliced": ["2.png"],
        "appraised": ["3.png"],
    }  # fmt: skip
    assert found["resliced"][0].after == "camera=2"


def call(*arguments: object) -> str:
    """Standard output of a command that succeeds."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_shows_what_changed(
    store: Store, versions: tuple[DatasetVersion, DatasetVersion]
) -> None:
    digests = [version.digest()[:12] for version in versions]
    text = call("diff", *digests, "--store", store.folder)
    assert "+1 -1, 1 relabelled, 1 remasked" in text
    assert "7.png" in text
    facts = json.loads(call("diff", *digests, "--store", store.folder, "--json"))
    assert [one["image"] for one in facts["added"]] == ["20.png"]
    assert facts["changed"]["relabelled"][0]["after"] == "stain"


def test_the_list_of_data_sets_shows_parents_and_what_changed(
    store: Store, versions: tuple[DatasetVersion, DatasetVersion]
) -> None:
    text = call("datasets", "--store", store.folder)
    parent = versions[0].digest()
    assert f"from {parent[:12]} (+1 -1, 1 relabelled, 1 remasked)" in text
    listed = json.loads(call("datasets", "--store", store.folder, "--json"))["datasets"]
    by_digest = {one["digest"]: one for one in listed}
    assert by_digest[versions[1].digest()]["parent"] == parent
    assert by_digest[parent]["labels"]["scratch"] == {"train": 2, "holdout": 2}


def test_the_split_command_makes_a_version_once_and_then_refuses(
    store: Store, items: list[DatasetItem]
) -> None:
    old = version_of([item.model_copy(update={"split": "train"}) for item in items])
    store.put_version(old)
    shared = ("--store", store.folder, "--holdout", "0.3", "--seed", "1")
    digest = call("split", old.digest()[:12], *shared).splitlines()[-1]
    made = store.version(digest)
    assert made.parent == old.digest()
    assert len(made.side("holdout")) == 3
    assert store.statistics(digest) is not None
    refused = RUNNER.invoke(app, ["split", digest[:12], "--store", str(store.folder)])
    assert refused.exit_code != 0
    assert "frozen" in str(refused.exception)
    thawed = call("split", digest[:12], *shared, "--thaw", "wrong parts", "--json")
    again = json.loads(thawed)
    assert (again["parent"], again["thawed"]) == (digest, "wrong parts")


def test_validate_without_a_version_takes_the_latest_or_asks(
    store: Store, versions: tuple[DatasetVersion, DatasetVersion], items: list[DatasetItem]
) -> None:
    asked = ["validate", "--store", str(store.folder), "--json"]
    assert json.loads(RUNNER.invoke(app, asked).stdout)["dataset"] == versions[1].digest()
    store.put_version(version_of(items, line="plates"))
    refused = RUNNER.invoke(app, asked)
    assert "several data sets" in str(refused.exception)


def test_a_version_is_described(store: Store, items: list[DatasetItem]) -> None:
    sliced = changed(items, 0, slices={"camera": "1"})
    version = version_of(sliced)
    store.put_version(version)
    found = describe(store, version)
    assert (found.images, found.parts, found.unreadable, found.masks) == (10, 10, 0, 4)
    assert found.labels["scratch"].model_dump() == {
        "train": 2, "holdout": 2, "train_parts": 2, "holdout_parts": 2,
    }  # fmt: skip
    assert found.slices["camera"]["1"].train == 1
    assert found.image_sides is not None
    assert (found.image_sides.width.p50, found.image_sides.height.max) == (64, 64)
    assert found.light is not None
    assert 60 < found.light.mean.p50 < 160
    assert [size.label for size in found.defects] == ["scratch"]
    assert 2 <= found.defects[0].short_side_p10 <= found.defects[0].short_side_p90 <= 16


def test_statistics_are_computed_once_and_lie_beside_the_version(
    store: Store, items: list[DatasetItem]
) -> None:
    version = version_of(items)
    store.put_version(version)
    said: list[tuple[int, int]] = []
    first = describe(store, version, lambda done, of: said.append((done, of)))
    file = store.folder / "versions" / f"{version.digest()}.stats.json"
    assert DatasetStatistics.model_validate_json(file.read_bytes()) == first
    assert describe(store, version, lambda done, of: said.append((done, of))) == first
    assert len(said) == len(items)
    assert store.digests() == [version.digest()]


def test_statistics_of_another_version_of_the_trainer_are_computed_anew(
    store: Store, items: list[DatasetItem]
) -> None:
    version = version_of(items)
    first = describe(store, version)
    store.put_statistics(version.digest(), b'{"v": 0}')
    assert describe(store, version) == first
    assert store.statistics(version.digest()) == first.model_dump_json().encode()


def test_a_damaged_image_is_counted_and_in_no_figure(
    store: Store, items: list[DatasetItem]
) -> None:
    found = describe(store, version_of([*items, put(store, 30, image=b"no image")]))
    assert found.unreadable == 1
    assert found.image_sides is not None
    assert found.image_sides.width.min == 64


def test_without_one_readable_image_there_are_no_figures(store: Store) -> None:
    found = describe(store, version_of([put(store, 30, image=b"no image")]))
    assert (found.image_sides, found.light, found.defects) == (None, None, [])


def test_defects_are_measured_by_component_or_by_region(
    store: Store, items: list[DatasetItem]
) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[2:6, 2:12] = 255
    mask[20:30, 20:30] = 128
    mask[40, 40] = 255  # speckle
    data = bytes(cv2.imencode(".png", mask)[1])
    image = image_facts(store.get(items[6].sha256))
    sizes = defect_sizes([Seen(items[6], image, mask_facts(data))])
    assert [(s.label, s.count, s.short_side_p50, s.area_p50) for s in sizes] == [
        ("scratch", 2, 7, 70)
    ]
    exact = region("dent", 0, 0, 20, 8)
    boxed = region("stain", 20, 20, 10, 12).model_copy(update={"exact": False})
    item = items[6].model_copy(update={"regions": (exact, boxed)})
    sizes = defect_sizes([Seen(item, image, mask_facts(data, item.regions))])
    assert [(s.label, s.count, s.short_side_p50, s.area_p50) for s in sizes] == [
        ("dent", 1, 8, 40), ("stain", 1, 10, 120),
    ]  # fmt: skip
