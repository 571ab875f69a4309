"""Imports from what people have."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import DataError
from tests.trainer.parts import draw, write_csv, write_image
from trainer.data.importing import ImportOptions, import_source
from trainer.data.split import choose_groups
from trainer.data.store import Store

OPTIONS = ImportOptions("discs", holdout=0.5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "data", good=4, bad=2)


def rewrite(path: Path, number: int, **cells: str) -> None:
    """Changes cells of one row of a manifest."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[number] |= cells
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_manifest_becomes_a_version_that_can_be_read_back(store: Store, small: Path) -> None:
    version = import_source(store, small, OPTIONS)
    assert store.version(version.digest()[:8]) == version
    assert {item.label for item in version.items} == {"good", "scratch", "stain"}
    assert version.items[0].slices == {"shift": "night"}
    assert version.channels == 3


def test_the_same_source_gives_the_same_digest(store: Store, small: Path) -> None:
    first = import_source(store, small, OPTIONS)
    assert import_source(store, small, OPTIONS).digest() == first.digest()


def test_no_part_stands_on_both_sides(stored: tuple[Store, DatasetVersion]) -> None:
    version = stored[1]
    sides = [{item.group for item in version.side(split)} for split in ("train", "holdout")]
    assert not sides[0] & sides[1]


def test_every_class_is_held_out_in_its_share(stored: tuple[Store, DatasetVersion]) -> None:
    held = [item.label for item in stored[1].side("holdout")]
    assert {label: held.count(label) for label in set(held)} == {
        "good": 24,
        "scratch": 7,
        "stain": 7,
    }


def test_images_of_one_part_stay_together(store: Store, small: Path) -> None:
    for number in (0, 1, 4):
        rewrite(small, number, group="one")
    version = import_source(store, small, OPTIONS)
    assert len({item.split for item in version.items if item.group == "one"}) == 1


def test_a_new_part_does_not_move_the_others() -> None:
    before = {f"p{n}": "good" for n in range(20)}
    chosen = choose_groups(before, 0.5, 3)
    after = choose_groups({**before, "new-1": "good", "new-2": "good"}, 0.5, 3)
    assert len(chosen - after) <= 1


def test_only_the_rows_that_are_asked_for_are_taken(store: Store, small: Path) -> None:
    only = replace(OPTIONS, where={"shift": frozenset({"day"})})
    assert len(import_source(store, small, only).items) == 4


def test_columns_may_have_other_names(store: Store, small: Path) -> None:
    text = small.read_text().replace("label,group", "defect,tile").replace(",good,", ",,")
    small.write_text(text)
    version = import_source(store, small, replace(OPTIONS, group="tile"))
    assert sum(item.label == "good" for item in version.items) == 4
    assert version.items[0].group == "p0"


def test_folders_by_class_are_taken_with_their_masks(store: Store, tmp_path: Path) -> None:
    for number in range(4):
        for label, defect in (("good", None), ("Deep scratch", "scratch")):
            image, mask = draw(number + 10 * bool(defect), defect)
            write_image(tmp_path / "set" / label / f"{number}.png", image)
            if defect:
                write_image(tmp_path / "set" / "masks" / label / f"{number}.png", mask)
    version = import_source(store, tmp_path / "set", OPTIONS)
    assert {item.label for item in version.items} == {"good", "deep_scratch"}
    assert all((item.mask is not None) == (item.label != "good") for item in version.items)


def test_grey_images_make_a_grey_data_set(store: Store, tmp_path: Path) -> None:
    for number in range(4):
        for label, defect in (("good", None), ("scratch", "scratch")):
            image, _ = draw(number + 10 * bool(defect), defect)
            write_image(tmp_path / "set" / label / f"{number}.png", image[..., 0])
    assert import_source(store, tmp_path / "set", OPTIONS).channels == 1


def test_an_empty_mask_leaves_the_label(store: Store, small: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "data" / "masks" / "part_004.png", np.zeros((64, 64), np.uint8))
    version = import_source(store, small, OPTIONS)
    item = next(item for item in version.items if item.source.endswith("part_004.png"))
    assert (item.label, item.mask) == ("scratch", None)


def test_an_unreadable_image_is_named(store: Store, small: Path) -> None:
    (small.parent / "images" / "part_002.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"part_002\.png is not an image that can be used"):
        import_source(store, small, OPTIONS)


def test_an_image_that_is_not_there_is_named(store: Store, small: Path) -> None:
    (small.parent / "images" / "part_002.png").unlink()
    with pytest.raises(DataError, match=r"part_002\.png cannot be read"):
        import_source(store, small, OPTIONS)


def test_an_image_of_one_colour_is_refused(store: Store, small: Path) -> None:
    write_image(small.parent / "images" / "part_001.png", np.full((64, 64, 3), 7, np.uint8))
    with pytest.raises(DataError, match="every pixel is 7"):
        import_source(store, small, OPTIONS)


def test_a_mask_of_another_size_is_refused(store: Store, small: Path) -> None:
    write_image(small.parent / "masks" / "part_004.png", np.full((32, 64), 255, np.uint8))
    with pytest.raises(DataError, match=r"part_004.*expected 64x64; found 64x32"):
        import_source(store, small, OPTIONS)


def test_a_marked_defect_in_a_good_image_is_refused(store: Store, small: Path) -> None:
    rewrite(small, 0, mask="masks/part_004.png")
    with pytest.raises(DataError, match="marks a defect in a good image"):
        import_source(store, small, OPTIONS)


def test_a_missing_column_is_named_with_those_that_are_there(store: Store, small: Path) -> None:
    small.write_text(small.read_text().replace("image,", "picture,", 1))
    with pytest.raises(DataError, match="expected image; found picture, mask, label"):
        import_source(store, small, OPTIONS)


def test_the_only_part_of_a_class_is_trained_on(store: Store, small: Path) -> None:
    rewrite(small, 4, label="dent")
    version = import_source(store, small, OPTIONS)
    assert [item.split for item in version.items if item.label == "dent"] == ["train"]


def test_good_images_alone_are_taken_and_what_that_means_is_said(
    store: Store, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "good", good=4, bad=0)
    said: list[str] = []
    version = import_source(store, path, OPTIONS, say=said.append)
    assert {item.label for item in version.items} == {"good"}
    assert any("only a line that learns from good parts" in text for text in said)


def test_defects_alone_are_refused(store: Store, small: Path) -> None:
    only = replace(OPTIONS, good="perfect", where={"label": frozenset({"scratch", "stain"})})
    with pytest.raises(DataError, match=r"good images are needed.*--good"):
        import_source(store, small, only)


def test_an_empty_folder_of_a_class_is_refused(store: Store, tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "good" / "1.png", draw(1, None)[0])
    (tmp_path / "set" / "dent").mkdir()
    with pytest.raises(DataError, match="class 'dent' is empty"):
        import_source(store, tmp_path / "set", OPTIONS)


def test_one_picture_under_two_labels_is_refused(store: Store, small: Path) -> None:
    images = small.parent / "images"
    shutil.copy(images / "part_000.png", images / "part_004.png")
    rewrite(small, 4, mask="")
    with pytest.raises(DataError, match="are the same picture"):
        import_source(store, small, OPTIONS)


def test_a_changed_object_is_noticed(store: Store, small: Path) -> None:
    version = import_source(store, small, OPTIONS)
    path = store.folder / "objects" / version.items[0].sha256
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(DataError, match="was changed after it was stored"):
        store.get(version.items[0].sha256)


def test_an_unknown_dataset_names_those_that_are_there(store: Store, small: Path) -> None:
    version = import_source(store, small, OPTIONS)
    with pytest.raises(DataError, match=version.digest()[:12]):
        store.version("0" * 64)
