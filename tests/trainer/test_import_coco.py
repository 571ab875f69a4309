"""COCO's JSON, its masks written by its own library."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from pycocotools import mask as reference

from fleet_contract.errors import DataError
from tests.trainer.marked import Marked, assert_same, by_stem, marks_of, pictures
from tests.trainer.parts import write_image
from trainer.data.formats.rle import ColumnRuns, counts_text, runs, text_counts
from trainer.data.importing import ImportOptions, import_source
from trainer.data.store import Store

OPTIONS = ImportOptions("discs", holdout=0.5, group="none")
CATEGORIES = [{"id": 7, "name": "Scratch"}, {"id": 3, "name": "stain"}]
IDS = {"scratch": 7, "stain": 3}
Write = Callable[[Marked], dict[str, Any]]
MASKS = npst.arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def as_box(one: Marked) -> dict[str, Any]:
    return {"bbox": list(one.box), "iscrowd": 0}


def as_text(one: Marked) -> dict[str, Any]:
    runs = reference.encode(np.asfortranarray(one.mask))
    return {"segmentation": {"size": [64, 64], "counts": runs["counts"].decode()}, "iscrowd": 1}


def as_numbers(one: Marked) -> dict[str, Any]:
    flat = one.mask.T.ravel() > 0
    counts, last, run = [], False, 0
    for value in flat:
        if value != last:
            counts.append(run)
            last, run = value, 0
        run += 1
    return {"segmentation": {"size": [64, 64], "counts": [*counts, run]}, "bbox": list(one.box)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def write(folder: Path, how: Write, images: str = "images") -> dict[str, Any]:
    """Pictures in a folder; the document about them."""
    document: dict[str, Any] = {"images": [], "annotations": [], "categories": CATEGORIES}
    for number, one in enumerate(pictures()):
        one.write(folder / images)
        document["images"].append(
            {"id": number, "file_name": f"{one.stem}.png", "width": 64, "height": 64}
        )
        if one.bad:
            entry = {"id": number, "image_id": number, "category_id": IDS[one.label]} | how(one)
            document["annotations"].append(entry)
    save(folder, document)
    return document


def save(folder: Path, document: object, name: str = "annotations.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(document))
    return path


@given(pixels=MASKS)
def test_run_lengths_are_those_of_the_reference(pixels: NDArray[np.bool_]) -> None:
    theirs = reference.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"].decode()
    assert counts_text(runs(pixels)) == theirs
    assert text_counts(theirs) == runs(pixels)
    size = (pixels.shape[1], pixels.shape[0])
    assert np.array_equal(ColumnRuns(size, theirs).decode(size), pixels)


@pytest.mark.parametrize("how", [as_text, as_numbers])
def test_masks_of_run_lengths_are_exact(store: Store, tmp_path: Path, how: Write) -> None:
    write(tmp_path / "set", how)
    said: list[str] = []
    version = import_source(store, tmp_path / "set", OPTIONS, say=said.append)
    assert said[0].startswith("taken as coco")
    assert_same(store, version, pictures(), exact=True)


def test_boxes_say_that_a_defect_is_somewhere_in_them(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "set", as_box)
    version = import_source(store, tmp_path / "set", OPTIONS)
    assert_same(store, version, pictures(), exact=False)
    region = by_stem(version)["part_004"].regions[0]
    assert (region.box, region.exact) == (pictures()[4].box, False)


def test_polygons_are_filled_as_the_reference_fills_them_but_for_their_border(
    store: Store, tmp_path: Path
) -> None:
    document = write(tmp_path / "set", as_box)
    ring = [10.2, 8.0, 40.7, 12.5, 31.0, 50.9, 12.0, 33.3]
    document["annotations"][0]["segmentation"] = [ring]
    save(tmp_path / "set", document)
    item = by_stem(import_source(store, tmp_path / "set", OPTIONS))["part_004"]
    mask = marks_of(store, item)
    theirs = reference.decode(reference.frPyObjects([ring], 64, 64))[..., 0]
    assert item.regions[0].exact
    # The reference rounds an outline to whole pixels: up to half of the outline's length differs.
    assert np.count_nonzero((mask > 0) != (theirs > 0)) < 0.06 * np.count_nonzero(theirs)


def test_two_polygons_of_one_defect_are_one_region(store: Store, tmp_path: Path) -> None:
    document = write(tmp_path / "set", as_box)
    squares = [[4, 4, 8, 4, 8, 8, 4, 8], [6, 6, 20, 6, 20, 20, 6, 20]]
    document["annotations"][0]["segmentation"] = squares
    save(tmp_path / "set", document)
    item = by_stem(import_source(store, tmp_path / "set", OPTIONS))["part_004"]
    expected = np.zeros((64, 64), np.uint8)
    expected[4:8, 4:8] = 255
    expected[6:20, 6:20] = 255
    assert np.array_equal(marks_of(store, item), expected)
    assert [region.box for region in item.regions] == [(4, 4, 16, 16)]


def test_an_image_of_several_classes_is_of_its_largest_and_keeps_all(
    store: Store, tmp_path: Path
) -> None:
    document = write(tmp_path / "set", as_box)
    for category, box in ((3, [2, 2, 30, 30]), (7, [40, 40, 3, 3])):
        entry = {"id": 50 + category, "image_id": 0, "category_id": category, "bbox": box}
        document["annotations"].append(entry)
    save(tmp_path / "set", document)
    item = by_stem(import_source(store, tmp_path / "set", OPTIONS))["part_000"]
    assert item.label == "stain"
    assert [(r.label, r.box) for r in item.regions] == [
        ("stain", (2, 2, 30, 30)),
        ("scratch", (40, 40, 3, 3)),
    ]


def test_a_shape_beyond_the_border_is_clipped(store: Store, tmp_path: Path) -> None:
    document = write(tmp_path / "set", as_box)
    document["annotations"][0]["segmentation"] = [[-10, -10, 8, -10, 8, 8, -10, 8]]
    document["annotations"][1]["bbox"] = [60, 50, 30, 100]
    save(tmp_path / "set", document)
    items = by_stem(import_source(store, tmp_path / "set", OPTIONS))
    assert items["part_004"].regions[0].box == (0, 0, 8, 8)
    assert items["part_005"].regions[0].box == (60, 50, 4, 14)


def test_a_box_over_the_whole_image_says_no_more_than_the_label(
    store: Store, tmp_path: Path
) -> None:
    document = write(tmp_path / "set", as_box)
    document["annotations"][0]["bbox"] = [0, 0, 64, 64]
    save(tmp_path / "set", document)
    item = by_stem(import_source(store, tmp_path / "set", OPTIONS))["part_004"]
    assert (item.label, item.mask, item.regions) == ("scratch", None, ())


def test_fields_of_an_image_are_columns(store: Store, tmp_path: Path) -> None:
    document = write(tmp_path / "set", as_box)
    for image in document["images"]:
        image |= {"tile": f"t{image['id'] // 2}", "camera": "left"}
    save(tmp_path / "set", document)
    asked = replace(OPTIONS, group="tile", slices=("camera",))
    version = import_source(store, tmp_path / "set", asked)
    assert {item.group for item in version.items} == {"t0", "t1", "t2", "t3"}
    assert version.items[0].slices == {"camera": "left"}


@pytest.mark.parametrize(
    ("document", "images"),
    [
        ("annotations/instances_train2017.json", "train2017"),
        ("train/_annotations.coco.json", "train"),
    ],
)
def test_images_are_found_where_tools_put_them(
    store: Store, tmp_path: Path, document: str, images: str
) -> None:
    written = write(tmp_path / "set", as_text, images)
    (tmp_path / "set" / "annotations.json").unlink()
    path = tmp_path / "set" / document
    save(path.parent, written, path.name)
    assert_same(store, import_source(store, tmp_path / "set", OPTIONS), pictures(), exact=True)
    other = Store(tmp_path / "other")
    assert_same(other, import_source(other, path, OPTIONS), pictures(), exact=True)


def test_the_documents_of_a_split_are_read_together_and_kept_apart(
    store: Store, tmp_path: Path
) -> None:
    document = write(tmp_path / "set", as_text)
    (tmp_path / "set" / "annotations.json").unlink()
    for name, odd in (("instances_train", 0), ("instances_val", 1)):
        images = [image for image in document["images"] if image["id"] % 2 == odd]
        ids = {image["id"] for image in images}
        marks = [mark for mark in document["annotations"] if mark["image_id"] in ids]
        part = document | {"images": images, "annotations": marks}
        save(tmp_path / "set" / "annotations", part, f"{name}.json")
    version = import_source(store, tmp_path / "set", replace(OPTIONS, keep_split=True))
    assert_same(store, version, pictures(), exact=True)
    assert {int(i.source[-5]) % 2 for i in version.side("holdout")} == {1}


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("images", {"file_name": "gone.png"},
         r"image gone\.png is missing; expected a file below .*annotations\.json says"),
        ("images", {"file_name": "../../part.png"}, r"names a file outside of its folder"),
        ("images", {"width": 640},
         r"part_004\.png .*another size than its image; expected 64x64; found 640x64"),
        ("images", {"id": 5}, r"two images of id 5"),
        ("annotations", {"category_id": 99},
         r"part_004\.png has a defect of an unknown category.*expected one of 7, 3"),
        ("annotations", {"image_id": 99},
         r"annotates an image that it does not list; found image_id 99"),
        ("annotations", {"bbox": [10, 10, 0, 5]},
         r"part_004\.png .*a box of class scratch has no area"),
        ("annotations", {"bbox": [100, 100, 5, 5]},
         r"part_004\.png .*lies outside of the image; expected inside of 64x64"),
        ("annotations", {"bbox": None},
         r"part_004\.png has a defect without a place.*bbox or segmentation"),
        ("annotations", {"bbox": [1, 2, 3]}, r"annotations\[0\]\.bbox"),
        ("annotations", {"segmentation": {"size": [64, 64], "counts": [5, 5]}},
         r"part_004\.png .*does not add up; expected 4096 pixels in all; found 10"),
        ("annotations", {"segmentation": {"size": [32, 64], "counts": [32 * 64]}},
         r"part_004\.png .*expected 64x64; found 64x32"),
        ("annotations", {"segmentation": [[1, 1, 5, 5]]},
         r"part_004\.png .*a polygon of class scratch is not one.*found 2 corners"),
        ("annotations", {"segmentation": [[1, 1, 5, 5, 2]]}, r"corner without its y"),
        ("annotations", {"segmentation": [[5, 5, 5, 5, 5, 5]]},
         r"part_004\.png .*has no area; found every corner at 5, 5"),
    ],
)  # fmt: skip
def test_a_likely_mistake_is_one_clear_error(
    store: Store, tmp_path: Path, table: str, change: dict[str, Any], said: str
) -> None:
    document = write(tmp_path / "set", as_box)
    document[table][4 if table == "images" else 0] |= change
    save(tmp_path / "set", document)
    with pytest.raises(DataError, match=said):
        import_source(store, tmp_path / "set", OPTIONS)
    assert store.digests() == []


@pytest.mark.parametrize("text", [b'{"images": [', b"", b"[" * 100_000, b'{"images": "\xff"}'])
def test_a_broken_document_is_named(store: Store, tmp_path: Path, text: bytes) -> None:
    write(tmp_path / "set", as_box)
    (tmp_path / "set" / "annotations.json").write_bytes(text)
    with pytest.raises(DataError, match=r"annotations\.json is not (JSON|text in UTF-8)"):
        import_source(store, tmp_path / "set", OPTIONS)


def test_a_text_of_run_lengths_that_breaks_off_is_refused() -> None:
    for text in ("a", "0\x7f0"):
        with pytest.raises(DataError, match="run-length"):
            ColumnRuns((8, 8), text).decode((8, 8))


def test_images_without_an_annotation_are_good_and_may_be_elsewhere(
    store: Store, tmp_path: Path
) -> None:
    document = write(tmp_path / "set", as_text, "elsewhere/deep")
    path = save(tmp_path / "documents", document)
    write_image(tmp_path / "set" / "elsewhere" / "deep" / "unlisted.png", pictures(9)[8].image)
    asked = replace(OPTIONS, root=tmp_path / "set" / "elsewhere" / "deep")
    assert_same(store, import_source(store, path, asked), pictures(), exact=True)
