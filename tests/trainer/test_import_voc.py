"""Pascal VOC's XML, with and without coloured pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleet_contract.errors import DataError
from tests.trainer.marked import Marked, assert_same, by_stem, marks_of, pictures
from tests.trainer.parts import write_image
from trainer.data.importing import ImportOptions, import_source
from trainer.data.store import Store

OPTIONS = ImportOptions("discs", holdout=0.5, group="none")
COLOURS = {"scratch": (128, 0, 0), "stain": (0, 128, 0)}
VOID = (224, 224, 192)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def xml(one: Marked) -> str:
    """Boxes count from 1 and include their last pixel."""
    left, top, width, height = one.box
    corners = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
    corners += f"<xmax>{left + width}</xmax><ymax>{top + height}</ymax>"
    entry = f"<object><name>{one.label}</name><bndbox>{corners}</bndbox></object>"
    return (
        f"<annotation><folder>f</folder><filename>{one.stem}.png</filename>"
        "<size><width>64</width><height>64</height><depth>3</depth></size>"
        f"{entry if one.bad else ''}</annotation>"
    )


def write(root: Path, *, images: str = "JPEGImages", texts: str = "Annotations") -> Path:
    """Pictures and XML files."""
    for one in pictures():
        one.write(root / images)
        (root / texts).mkdir(parents=True, exist_ok=True)
        (root / texts / f"{one.stem}.xml").write_text(xml(one))
    return root


def colour(root: Path) -> None:
    """Pixels of every defect by colour, with a border of nobody around them."""
    for one in pictures():
        plane = np.zeros((64, 64, 3), np.uint8)
        if one.bad:
            plane[one.mask > 0] = COLOURS[one.label]
        write_image(root / "SegmentationClass" / f"{one.stem}.png", plane)


def rewrite(root: Path, old: str, new: str) -> None:
    """Changes the XML of one defective picture."""
    path = root / "Annotations" / "part_004.xml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_boxes_count_from_one(store: Store, tmp_path: Path) -> None:
    said: list[str] = []
    version = import_source(store, write(tmp_path / "set"), OPTIONS, say=said.append)
    assert said[0].startswith("taken as voc")
    assert_same(store, version, pictures(), exact=False)


def test_texts_may_lie_beside_their_images(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set", images=".", texts=".")
    assert_same(store, import_source(store, root, OPTIONS), pictures(), exact=False)


def test_images_without_a_text_are_good_and_that_is_said(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    (root / "Annotations" / "part_000.xml").unlink()
    said: list[str] = []
    version = import_source(store, root, OPTIONS, say=said.append)
    assert "1 images without an XML file were taken as good" in said
    assert_same(store, version, pictures(), exact=False)


def test_coloured_pixels_belong_to_the_object_around_them(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    colour(root)
    version = import_source(store, root, OPTIONS)
    assert_same(store, version, pictures(), exact=True)
    assert by_stem(version)["part_004"].regions[0].exact


def test_a_label_map_says_what_the_colours_are(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    colour(root)
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{name}:{','.join(map(str, rgb))}::" for name, rgb in COLOURS.items()]
    (root / "labelmap.txt").write_text("\n".join(lines))
    assert_same(store, import_source(store, root, OPTIONS), pictures(), exact=True)


def test_the_border_of_nobody_is_clean(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    colour(root)
    one = pictures()[4]
    plane = np.zeros((64, 64, 3), np.uint8)
    plane[:] = VOID
    plane[one.mask > 0] = COLOURS[one.label]
    write_image(root / "SegmentationClass" / "part_004.png", plane)
    item = by_stem(import_source(store, root, OPTIONS))["part_004"]
    assert np.array_equal(marks_of(store, item), one.mask)


def test_coloured_pixels_outside_of_all_boxes_ask_for_a_label_map(
    store: Store, tmp_path: Path
) -> None:
    root = write(tmp_path / "set")
    colour(root)
    write_image(root / "SegmentationClass" / "part_000.png", np.full((64, 64, 3), 128, np.uint8))
    with pytest.raises(DataError, match=r"in no object's box; found 4096 pixels.*labelmap\.txt"):
        import_source(store, root, OPTIONS)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<width>64<", "<width>640<", r"part_004\.png \(in .*part_004\.xml\): .*found 640x64"),
        ("part_004.png<", "gone.bmp<", ""),
        ("<name>scratch</name>", "", r"part_004\.xml has an object without name"),
        ("<xmin>", "<xmin>x", r"part_004\.xml: bndbox/xmin is not a number; found 'x"),
        ("<xmin>", "<xmin>9", r"a box of class scratch in .*part_004\.xml has no area"),
        ("</annotation>", "", r"part_004\.xml is not XML"),
        ("annotation>", "notes>", r"part_004\.xml is not Pascal VOC's"),
        (
            "part_004.png<",
            "../../part_004.png<",
            r"part_004\.xml names a file outside of its folder",
        ),
    ],
)
def test_a_likely_mistake_names_the_file(
    store: Store, tmp_path: Path, old: str, new: str, said: str
) -> None:
    root = write(tmp_path / "set")
    rewrite(root, old, new)
    if not said:  # another name in the XML is of no consequence where the stem is right
        assert_same(store, import_source(store, root, OPTIONS), pictures(), exact=False)
        return
    with pytest.raises(DataError, match=said):
        import_source(store, root, OPTIONS)


def test_an_image_that_is_missing_is_named(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    (root / "JPEGImages" / "part_004.png").unlink()
    with pytest.raises(DataError, match=r"image part_004\.png is missing; .*part_004\.xml says"):
        import_source(store, root, OPTIONS)


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>',
    ],
)
def test_entities_are_refused(store: Store, tmp_path: Path, declared: str) -> None:
    root = write(tmp_path / "set")
    path = root / "Annotations" / "part_004.xml"
    path.write_text(declared + path.read_text())
    with pytest.raises(DataError, match=r"part_004\.xml declares a document type or entities"):
        import_source(store, root, OPTIONS)


def test_a_text_in_an_unknown_encoding_is_named(store: Store, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    path = root / "Annotations" / "part_004.xml"
    path.write_bytes(b"<?xml version='1.0' encoding='x-none'?>" + path.read_bytes())
    with pytest.raises(DataError, match=r"part_004\.xml is not XML"):
        import_source(store, root, OPTIONS)


def test_a_part_may_be_named_in_the_file_name(store: Store, tmp_path: Path) -> None:
    asked = replace(OPTIONS, group=r"re:part_00(\d)\.png", slices=(r"digit=re:(\d)\.",))
    version = import_source(store, write(tmp_path / "set"), asked)
    assert {item.group for item in version.items} == set("01234567")
    assert by_stem(version)["part_003"].slices == {"digit": "3"}
    with pytest.raises(DataError, match=r"part_000\.png does not fit; expected '\(t\[0-9\]\+\)_'"):
        import_source(store, write(tmp_path / "set"), replace(OPTIONS, group="re:(t[0-9]+)_"))
