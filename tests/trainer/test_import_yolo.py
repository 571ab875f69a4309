"""YOLO's texts: boxes and polygons in shares of the image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleet_contract.errors import DataError
from tests.trainer.marked import Marked, assert_same, by_stem, marks_of, pictures
from trainer.data.formats.polygon import outlines
from trainer.data.importing import ImportOptions, import_source
from trainer.data.store import Store

OPTIONS = ImportOptions("discs", holdout=0.5, group="none")
NUMBERS = {"scratch": 0, "stain": 1}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def box_line(one: Marked) -> str:
    left, top, width, height = one.box
    shares = ((left + width / 2) / 64, (top + height / 2) / 64, width / 64, height / 64)
    return " ".join([str(NUMBERS[one.label]), *(f"{share:.6f}" for share in shares)]) + "\n"


def polygon_lines(one: Marked) -> str:
    rings = outlines(one.mask > 0)
    return "".join(
        " ".join([str(NUMBERS[one.label]), *(f"{n / 64:.6f}" for corner in ring for n in corner)]) + "\n"
        for ring in rings
    )  # fmt: skip


def write(
    root: Path, *, images: str = "images", labels: str = "labels", boxes: bool = True
) -> Path:
    """Pictures and texts; the first good one has an empty text, the others none."""
    for number, one in enumerate(pictures()):
        one.write(root / images)
        (root / labels).mkdir(parents=True, exist_ok=True)
        if one.bad or not number:
            text = (box_line if boxes else polygon_lines)(one) if one.bad else ""
            (root / labels / f"{one.stem}.txt").write_text(text)
    (root / "data.yaml").write_text("path: .\ntrain: images\nnames:\n  0: scratch\n  1: Stain\n")
    return root


def test_boxes_are_read_and_images_without_a_text_are_good(store: Store, tmp_path: Path) -> None:
    said: list[str] = []
    version = import_source(store, write(tmp_path / "set"), OPTIONS, say=said.append)
    assert said[0].startswith("taken as yolo")
    assert "3 images without a text file were taken as good" in said
    assert_same(store, version, pictures(), exact=False)


def test_polygons_are_exact(store: Store, tmp_path: Path) -> None:
    version = import_source(store, write(tmp_path / "set", boxes=False), OPTIONS)
    assert_same(store, version, pictures(), exact=True)


@pytest.mark.parametrize(
    ("images", "labels"),
    [("train/images", "train/labels"), ("images/train", "labels/train"), (".", ".")],
)
def test_folders_may_lie_as_tools_put_them(
    store: Store, tmp_path: Path, images: str, labels: str
) -> None:
    root = write(tmp_path / "set", images=images, labels=labels)
    assert_same(store, import_source(store, root, OPTIONS), pictures(), exact=False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "scratch\nstain\n"),
        ("obj.names", "scratch\r\nstain"),
        ("data.yml", "names: [scratch, stain]\nnc: 2\n"),
    ],
)
def test_class_names_may_stand_in_several_files(
    store: Store, tmp_path: Path, name: str, text: str
) -> None:
    root = write(tmp_path / "set")
    (root / "data.yaml").unlink()
    (root / name).write_text(text)
    asked = replace(OPTIONS, format="yolo")
    assert_same(store, import_source(store, root, asked), pictures(), exact=False)


def test_the_source_may_be_the_yaml_file(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    assert_same(store, import_source(store, root / "data.yaml", OPTIONS), pictures(), exact=False)


def test_the_split_by_folders_can_be_kept(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set", images="images/train", labels="labels/train")
    (root / "images" / "val").mkdir()
    (root / "images" / "train" / "part_001.png").rename(root / "images" / "val" / "part_001.png")
    version = import_source(store, root, replace(OPTIONS, keep_split=True))
    assert [item.source for item in version.side("holdout")] == ["images/val/part_001.png"]


def test_several_classes_in_one_text_are_regions(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    (root / "labels" / "part_000.txt").write_text(
        "0 0.5 0.5 0.25 0.125\n\n1 0.25 0.25 0.0625 0.0625\n"
    )
    item = by_stem(import_source(store, root, OPTIONS))["part_000"]
    assert item.label == "scratch"
    assert [(r.label, r.box) for r in item.regions] == [
        ("scratch", (24, 28, 16, 8)),
        ("stain", (14, 14, 4, 4)),
    ]


def test_a_polygon_beyond_the_border_is_clipped(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    (root / "labels" / "part_004.txt").write_text("0 -0.1 -0.1 0.25 -0.1 0.25 0.25 -0.1 0.25")
    item = by_stem(import_source(store, root, OPTIONS))["part_004"]
    expected = np.zeros((64, 64), np.uint8)
    expected[:16, :16] = 255
    assert np.array_equal(marks_of(store, item), expected)


def test_a_polygon_thinner_than_a_pixel_is_not_lost(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    (root / "labels" / "part_004.txt").write_text("0 0.1 0.501 0.9 0.501 0.9 0.502")
    item = by_stem(import_source(store, root, OPTIONS))["part_004"]
    assert marks_of(store, item)[32].any()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("5 .5 .5 .1 .1", r"line 1 of .*part_004\.txt names an unknown class; expected a number from 0 to 1; found 5"),
        ("0 .5 .5 .1", r"line 1 of .*part_004\.txt is neither a box nor a polygon.*found 3 numbers"),
        ("0 .5 .5 .1 .1 .9", r"is neither a box nor a polygon.*found 5 numbers"),
        ("scratch .5 .5 .1 .1", r"is not YOLO's; expected a class number"),
        ("0 320 240 10 10", r"no shares of the image; expected 0 to 1; found 320"),
        ("0 nan .5 .1 .1", r"no shares of the image"),
        ("0 .5 .5 0 .1", r"part_004\.png \(in .*part_004\.txt\): a box of class scratch has no area"),
        ("0 1.5 1.5 .1 .1", r"part_004\.png .*lies outside of the image"),
    ],
)  # fmt: skip
def test_a_likely_mistake_names_file_and_line(
    store: Store, tmp_path: Path, line: str, said: str
) -> None:
    root = write(tmp_path / "set")
    (root / "labels" / "part_004.txt").write_text(line)
    with pytest.raises(DataError, match=said):
        import_source(store, root, OPTIONS)


def test_a_text_without_an_image_is_named(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    (root / "labels" / "lost.txt").write_text("")
    with pytest.raises(DataError, match=r"lost\.txt has no image"):
        import_source(store, root, OPTIONS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("names: [", r"data\.yaml is not YAML"),
        ("train: images", r"data\.yaml names no classes"),
        ("names: 3", r"data\.yaml names no classes"),
        ("!!python/object/apply:os.getcwd []", r"data\.yaml is not YAML"),
    ],
)
def test_a_yaml_file_that_names_nothing_is_refused(
    store: Store, tmp_path: Path, text: str, said: str
) -> None:
    root = write(tmp_path / "set")
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=said):
        import_source(store, root, OPTIONS)


def test_no_names_at_all_says_how_to_write_them(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    (root / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"names no classes.*Write classes\.txt"):
        import_source(store, root, OPTIONS)


def test_a_text_that_is_not_utf_8_is_named(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    (root / "labels" / "part_004.txt").write_bytes(b"0 \xff")
    with pytest.raises(DataError, match=r"part_004\.txt is not text in UTF-8"):
        import_source(store, root, OPTIONS)
