"""Exports, and what comes back when they are imported again."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from pycocotools import mask as reference

from fleet_contract.dataset import DatasetItem, DatasetVersion, Region
from fleet_contract.errors import ConfigError, ResourceError
from fleet_contract.inference.preprocess import encode_png
from tests.trainer.marked import Marked, marks_of, mask_of, pictures
from trainer.data.exporting import export_version
from trainer.data.importing import ImportOptions, import_source
from trainer.data.store import Store

AGAIN = ImportOptions("discs", keep_split=True, group="none")
FORMATS = ("coco", "yolo", "labelstudio")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def version(store: Store) -> DatasetVersion:
    """Good parts, exact masks, a box, a label alone, two classes in one image, a mask with a hole."""
    items = [_item(store, one, number) for number, one in enumerate(pictures(good=4, bad=3))]
    items[5] = _boxed(store, items[5])
    items[6] = items[6].model_copy(update={"mask": None})
    items[7] = _two_classes(store, items[7])
    items[8] = _ring(store, items[8])
    return DatasetVersion(line="discs", reason="test", channels=3, items=items)


def _item(store: Store, one: Marked, number: int) -> DatasetItem:
    return DatasetItem(
        sha256=store.put(encode_png(one.image)),
        label=one.label,
        mask=store.put(encode_png(one.mask)) if one.bad else None,
        group=f"p{number // 2}",
        split="holdout" if number // 2 % 2 else "train",
        slices={"shift": "day" if number % 2 else "night"},
        source=f"images/Teil {number}.png",
    )


def _boxed(store: Store, item: DatasetItem) -> DatasetItem:
    mask = np.zeros((64, 64), np.uint8)
    mask[10:31, 7:20] = 128
    region = Region(label=item.label, box=(7, 10, 13, 21), exact=False)
    sha256 = store.put(encode_png(mask))
    return item.model_copy(update={"mask": sha256, "regions": (region,)})


def _two_classes(store: Store, item: DatasetItem) -> DatasetItem:
    mask = np.zeros((64, 64), np.uint8)
    mask[40:50, 40:60] = 128
    mask[5:25, 5:25] = 255
    mask[12:15, 12:15] = 0
    mask[45:47, 45:50] = 255
    regions = (
        Region(label="stain", box=(5, 5, 20, 20), exact=True),
        Region(label="scratch", box=(45, 45, 5, 2), exact=True),
        Region(label="scratch", box=(40, 40, 20, 10), exact=False),
    )
    return item.model_copy(update={
        "label": "stain", "mask": store.put(encode_png(mask)), "regions": regions,
        "appraisals": {"ann": "stain", "bo": "good"},
    })  # fmt: skip


def _ring(store: Store, item: DatasetItem) -> DatasetItem:
    mask = np.zeros((64, 64), np.uint8)
    cv2.circle(mask, (30, 30), 14, (255,), 3)
    mask[0, 0] = mask[1, 1] = 255  # touching by a corner
    return item.model_copy(update={"mask": store.put(encode_png(mask))})


def again(store: Store, out: Path, options: ImportOptions = AGAIN) -> dict[str, DatasetItem]:
    """The export, imported; items by the image's digest."""
    return {item.sha256: item for item in import_source(store, out, options).items}


@pytest.mark.parametrize("name", FORMATS)
def test_labels_masks_and_sides_come_back_as_they_were(
    store: Store, version: DatasetVersion, tmp_path: Path, name: str
) -> None:
    assert export_version(store, version, name, tmp_path / "out") == len(version.items)
    found = again(store, tmp_path / "out")
    assert len(found) == len(version.items)
    for item in version.items:
        back = found[item.sha256]
        assert (back.label, back.split) == (item.label, item.split), item.source
        before, after = mask_of(store, item), mask_of(store, back)
        assert (before is None) == (after is None), item.source
        assert before is None or np.array_equal(before, marks_of(store, back)), item.source


@pytest.mark.parametrize("name", ["coco", "labelstudio"])
def test_regions_come_back_as_they_were(
    store: Store, version: DatasetVersion, tmp_path: Path, name: str
) -> None:
    export_version(store, version, name, tmp_path / "out")
    found = again(store, tmp_path / "out")
    for item in version.items:
        if item.regions:
            assert set(found[item.sha256].regions) == set(item.regions)


@pytest.mark.parametrize("name", ["coco", "labelstudio"])
def test_parts_and_slices_go_along(
    store: Store, version: DatasetVersion, tmp_path: Path, name: str
) -> None:
    export_version(store, version, name, tmp_path / "out")
    asked = replace(AGAIN, group="group", slices=("shift",))
    found = again(store, tmp_path / "out", asked)
    for item in version.items:
        back = found[item.sha256]
        assert (back.group, back.slices) == (item.group, item.slices)


def test_what_people_said_goes_along_to_label_studio(
    store: Store, version: DatasetVersion, tmp_path: Path
) -> None:
    export_version(store, version, "labelstudio", tmp_path / "out")
    back = again(store, tmp_path / "out")[version.items[7].sha256]
    assert back.appraisals == {"ann": "stain", "bo": "good"}


def test_the_reference_reads_our_masks(
    store: Store, version: DatasetVersion, tmp_path: Path
) -> None:
    export_version(store, version, "coco", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "annotations.json").read_text())
    mark = next(m for m in document["annotations"] if m["image_id"] == 9)
    theirs = reference.decode([mark["segmentation"]])[..., 0]
    assert np.array_equal(theirs * 255, marks_of(store, version.items[8]))
    assert reference.toBbox(mark["segmentation"]).tolist() == mark["bbox"]
    assert int(reference.area(mark["segmentation"])) == mark["area"]


def test_tools_that_draw_outlines_make_yolo_polygons_a_pixel_thicker_at_most(
    store: Store, version: DatasetVersion, tmp_path: Path
) -> None:
    export_version(store, version, "yolo", tmp_path / "out")
    item = version.items[4]
    (text,) = (tmp_path / "out").glob(f"labels/*/*{item.sha256[:12]}.txt")
    drawn = np.zeros((64, 64), np.uint8)
    for line in text.read_text().splitlines():
        corners = np.array(line.split()[1:], np.float64).reshape(-1, 2) * 64
        cv2.fillPoly(drawn, [np.rint(corners).astype(np.int32)], (255,))
    mask = marks_of(store, item)
    assert not ((mask > 0) & (drawn == 0)).any()
    thicker = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    assert not ((drawn > 0) & (thicker == 0)).any()


def test_the_interface_of_label_studio_offers_every_class(
    store: Store, version: DatasetVersion, tmp_path: Path
) -> None:
    export_version(store, version, "labelstudio", tmp_path / "out")
    tree = ElementTree.parse(tmp_path / "out" / "labeling.xml")
    for tag in ("BrushLabels", "RectangleLabels"):
        labels = [label.get("value") for label in tree.findall(f"./{tag}/Label")]
        assert labels == ["scratch", "stain"]
    assert [c.get("value") for c in tree.iter("Choice")] == ["good", "scratch", "stain"]


@pytest.mark.parametrize("name", FORMATS)
def test_images_of_16_bits_stay_as_they_are(store: Store, tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    items = [
        DatasetItem(
            sha256=store.put(encode_png(rng.integers(0, 65536, (40, 30), np.uint16))),
            label=label, group=str(number), split=side, source="x.png",
        )
        for number, (label, side) in enumerate([("good", "train"), ("good", "holdout"), ("dent", "train")])
    ]  # fmt: skip
    deep = DatasetVersion(line="discs", reason="test", channels=1, depth=16, items=items)
    export_version(store, deep, name, tmp_path / "out")
    back = import_source(store, tmp_path / "out", AGAIN)
    assert (back.depth, back.channels) == (16, 1)
    assert {item.sha256 for item in back.items} == {item.sha256 for item in items}


def test_a_folder_that_holds_something_is_left_alone(
    store: Store, version: DatasetVersion, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ResourceError, match="is not empty"):
        export_version(store, version, "coco", tmp_path)


def test_a_format_that_is_not_written_names_those_that_are(
    store: Store, version: DatasetVersion, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="expected coco, yolo, labelstudio"):
        export_version(store, version, "voc", tmp_path / "out")
