"""Label Studio's JSON export: rectangles, polygons, brushes, choices, several people."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleet_contract.errors import DataError
from tests.trainer.marked import Marked, assert_same, by_stem, marks_of, pictures
from tests.trainer.parts import write_image
from trainer.data.formats.brush import BrushRuns
from trainer.data.formats.polygon import outlines
from trainer.data.importing import ImportOptions, import_source
from trainer.data.store import Store

OPTIONS = ImportOptions("discs", holdout=0.5, group="none")
How = Callable[[Marked], list[dict[str, Any]]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def result(kind: str, label: str, **value: object) -> dict[str, Any]:
    """A mark, as the export writes it."""
    return {
        "id": "a1", "from_name": "label", "to_name": "image", "type": kind, "origin": "manual",
        "original_width": 64, "original_height": 64, "image_rotation": 0,
        "value": {**value, kind: [label]},
    }  # fmt: skip


def as_box(one: Marked) -> list[dict[str, Any]]:
    x, y, width, height = (100 * n / 64 for n in one.box)
    place = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
    return [result("rectanglelabels", one.label, **place)]


def as_polygons(one: Marked) -> list[dict[str, Any]]:
    return [
        result("polygonlabels", one.label, closed=True,
               points=[[100 * x / 64, 100 * y / 64] for x, y in ring])
        for ring in outlines(one.mask > 0)
    ]  # fmt: skip


def as_brush(one: Marked) -> list[dict[str, Any]]:
    return [result("brushlabels", one.label, format="rle", rle=packed(one.mask))]


def packed(mask: np.ndarray[Any, np.dtype[np.uint8]]) -> list[int]:
    """The brush of the browser: coloured strokes, so that marked pixels differ byte by byte."""
    bytes_ = [n for m in mask.ravel() for n in ((58, 12, 200, 255) if m else (0, 0, 0, 0))]
    bits = f"{len(bytes_):032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    place = 0
    while place < len(bytes_):
        run = 1
        while place + run < len(bytes_) and bytes_[place + run] == bytes_[place] and run < 256:
            run += 1
        if run > 4:
            bits += f"1{2:02b}{run - 1:08b}{bytes_[place]:08b}"
        else:  # words one by one, eight at most
            run = min(8, len(bytes_) - place)
            bits += f"0{0:02b}{run - 1:03b}" + "".join(
                f"{b:08b}" for b in bytes_[place : place + run]
            )
        place += run
    bits += "0" * (-len(bits) % 8)
    return [int(bits[n : n + 8], 2) for n in range(0, len(bits), 8)]


def annotation(marks: list[dict[str, Any]], **more: object) -> dict[str, Any]:
    return {"id": 1, "result": marks, "was_cancelled": False, "ground_truth": False, **more}


def tasks(folder: Path, how: How) -> list[dict[str, Any]]:
    """Pictures below `folder`, and a task about each."""
    made = []
    for number, one in enumerate(pictures()):
        one.write(folder)
        made.append({
            "id": number, "data": {"image": f"/data/upload/3/1a2b3c4d-{one.stem}.png", "camera": "left"},
            "file_upload": f"1a2b3c4d-{one.stem}.png",
            "annotations": [annotation(how(one) if one.bad else [], completed_by=1)],
            "predictions": [{"result": as_box(pictures()[4])}],
        })  # fmt: skip
    return made


def save(folder: Path, document: object) -> Path:
    path = folder / "project-3.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(("how", "exact"), [(as_box, False), (as_polygons, True), (as_brush, True)])
def test_marks_are_read(store: Store, tmp_path: Path, how: How, exact: bool) -> None:
    path = save(tmp_path, tasks(tmp_path, how))
    said: list[str] = []
    version = import_source(store, path, OPTIONS, say=said.append)
    assert said[0].startswith("taken as labelstudio")
    expected = pictures()
    if how is as_polygons:  # a mask of several groups is several polygons
        assert sum(len(item.regions) for item in version.items) >= 4
    assert_same(store, version, expected, exact=exact)


@pytest.mark.parametrize(
    "address",
    [
        "images/{}.png",
        "/data/local-files/?d=line%203/images/{}.png",
        "https://host.example/bucket/images/{}.png?sig=1",
        "s3://bucket/images/{}.png",
        "/data/upload/12/0f0f0f0f-{}.png",
    ],
)
def test_images_are_found_below_the_root_however_they_are_addressed(
    store: Store, tmp_path: Path, address: str
) -> None:
    root = tmp_path / "elsewhere" / "images"
    made = tasks(root, as_box)
    for task, one in zip(made, pictures(), strict=True):
        task["data"] = {"photo": address.format(one.stem)}
        del task["file_upload"]
    path = save(tmp_path, made)
    for base in (root, root.parent):
        if base is root or "images" in address:
            version = import_source(store, path, replace(OPTIONS, root=base))
            assert_same(store, version, pictures(), exact=False)


def test_a_choice_labels_the_whole_image(store: Store, tmp_path: Path) -> None:
    made = tasks(tmp_path, lambda one: [result("choices", one.label) | {"from_name": "class"}])
    made[0]["annotations"][0]["result"] = [result("choices", "Good")]
    version = import_source(store, save(tmp_path, made), OPTIONS)
    assert {s: i.label for s, i in by_stem(version).items()} == {
        o.stem: o.label for o in pictures()
    }
    assert all(item.mask is None for item in version.items)


def test_a_turned_rectangle_covers_its_turned_place(store: Store, tmp_path: Path) -> None:
    made = tasks(tmp_path, as_box)
    place = {"x": 50.0, "y": 25.0, "width": 25.0, "height": 12.5, "rotation": 90}
    made[4]["annotations"][0]["result"] = [result("rectanglelabels", "scratch", **place)]
    item = by_stem(import_source(store, save(tmp_path, made), OPTIONS))["part_004"]
    expected = np.zeros((64, 64), np.uint8)
    expected[16:32, 24:32] = 128
    assert np.array_equal(marks_of(store, item), expected)


def test_several_people_are_appraisers_and_the_most_decide(store: Store, tmp_path: Path) -> None:
    made = tasks(tmp_path, as_box)
    mark = as_box(pictures()[4])
    made[4]["annotations"] = [
        annotation(
            mark, completed_by={"id": 1, "email": "ann@site.example"}, updated_at="2026-01-03"
        ),
        annotation([], completed_by=2, updated_at="2026-01-05"),
        annotation(mark, completed_by=3, updated_at="2026-01-04"),
        annotation([], completed_by=4, was_cancelled=True),
    ]
    item = by_stem(import_source(store, save(tmp_path, made), OPTIONS))["part_004"]
    assert item.label == "scratch"
    assert item.appraisals == {"ann@site.example": "scratch", "2": "good", "3": "scratch"}


def test_the_ground_truth_decides_where_there_is_one(store: Store, tmp_path: Path) -> None:
    made = tasks(tmp_path, as_box)
    mark = as_box(pictures()[4])
    made[4]["annotations"] = [
        annotation([], completed_by=2, ground_truth=True),
        annotation(mark, completed_by=1),
        annotation(mark, completed_by=3),
    ]
    item = by_stem(import_source(store, save(tmp_path, made), OPTIONS))["part_004"]
    assert (item.label, item.mask) == ("good", None)


def test_a_task_that_nobody_annotated_is_left_out_and_that_is_said(
    store: Store, tmp_path: Path
) -> None:
    made = tasks(tmp_path, as_box)
    made[0]["annotations"] = []
    made[1]["annotations"][0]["was_cancelled"] = True
    said: list[str] = []
    version = import_source(store, save(tmp_path, made), OPTIONS, say=said.append)
    assert len(version.items) == 6
    assert "2 tasks that nobody annotated were left out" in said


def test_data_of_a_task_are_columns(store: Store, tmp_path: Path) -> None:
    asked = replace(OPTIONS, slices=("camera",))
    version = import_source(store, save(tmp_path, tasks(tmp_path, as_box)), asked)
    assert version.items[0].slices == {"camera": "left"}


def two_labels() -> list[dict[str, Any]]:
    mark = as_box(pictures()[4])[0]
    mark["value"]["rectanglelabels"] = ["scratch", "stain"]
    return [mark]


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ([as_box(pictures()[4])[0] | {"image_rotation": 90}], "turned by hand.*image_rotation 0"),
        ([as_box(pictures()[4])[0] | {"original_width": 128}], r"part_004\.png .*found 128x64"),
        ([result("rectanglelabels", "scratch", x=1)], r"part_004\.png .*cannot be understood"),
        ([result("ellipselabels", "scratch", x=1, y=1)], "a kind that is not taken.*ellipselabels"),
        ([result("brushlabels", "scratch", rle=[0, 0, 64, 0, 57, 27])], r"part_004\.png .*breaks off"),
        ([result("brushlabels", "scratch", rle=[0, 0, 0, 9, 57, 27, 0])], "of another size than it says"),
        ([result("brushlabels", "scratch", rle=[999])], "no list of bytes"),
        (two_labels(), "without one label"),
        ([*as_box(pictures()[4]), result("choices", "good")], "is called good, and has a mark"),
        ([result("polygonlabels", "scratch", points=[[1, 1], [2, 2]])], "is not one.*found 2 corners"),
    ],
)  # fmt: skip
def test_a_likely_mistake_names_the_task(
    store: Store, tmp_path: Path, marks: list[dict[str, Any]], said: str
) -> None:
    made = tasks(tmp_path, as_box)
    made[4]["annotations"][0]["result"] = marks
    with pytest.raises(DataError, match=said):
        import_source(store, save(tmp_path, made), OPTIONS)


def test_the_short_export_is_refused_by_name(store: Store, tmp_path: Path) -> None:
    path = save(tmp_path, [{"image": "a.png", "label": "scratch"}])
    with pytest.raises(DataError, match="Export as JSON, not as JSON-MIN"):
        import_source(store, path, replace(OPTIONS, format="labelstudio"))


def test_an_image_that_is_missing_or_outside_is_named(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    made = tasks(folder, as_box)
    made[0] |= {"data": {"image": "../secret.png"}, "file_upload": None}
    made[1] |= {"data": {"image": "gone.png"}, "file_upload": None}
    write_image(tmp_path / "secret.png", pictures()[0].image)
    with pytest.raises(DataError) as failed:
        import_source(store, save(folder, made), OPTIONS)
    assert "names a file outside of its folder" in str(failed.value)
    assert "image gone.png is missing" in str(failed.value)


def test_a_brush_is_decoded_as_written() -> None:
    one = pictures()[5]
    code = bytes(packed(one.mask))
    assert np.array_equal(BrushRuns((64, 64), code).decode((64, 64)), one.mask > 0)
