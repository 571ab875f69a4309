"""Pascal VOC: an XML file an image with boxes; `SegmentationClass/` may hold their pixels by colour.

Boxes count pixels from 1 and include their last one. A colour's class stands in `labelmap.txt`
(`name:r,g,b::`); without it each object takes the coloured pixels in its box. White-beige
(224, 224, 192) is the border that belongs to nobody.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import cv2
import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from fleet_contract.errors import DataError
from trainer.data.formats.picture import decode
from trainer.data.formats.reading import (
    IMAGE_SUFFIXES,
    Reading,
    Row,
    by_stem,
    images_below,
    inside,
    read_text,
    side_of,
)
from trainer.data.formats.shapes import Box, Patch, Shape, Size, crop, wrong_size

ANNOTATIONS, _SEGMENTS = "Annotations", "SegmentationClass"
_IMAGES = ("JPEGImages", "images", "Images")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_VOID = (224, 224, 192)


@dataclass(frozen=True, slots=True)
class Coloured:
    """Boxes, and a picture that colours the pixels of their defects."""

    boxes: tuple[Box, ...]
    path: Path
    colours: dict[tuple[int, int, int], str]
    """Label by colour (red, green, blue); empty: not known."""
    drawn = True

    def patches(self, size: Size) -> list[Patch]:
        """Pixels of each colour's class; without known colours, of each box."""
        plane = _read_colours(self.path)
        if (plane.shape[1], plane.shape[0]) != size:
            raise wrong_size(str(self.path), (plane.shape[1], plane.shape[0]), size)
        marked = plane.any(axis=2) & (plane != np.array(_VOID)).any(axis=2)
        return self._by_colour(plane, marked) if self.colours else self._by_box(marked, size)

    def _by_colour(self, plane: NDArray[np.uint8], marked: NDArray[np.bool_]) -> list[Patch]:
        found = []
        for colour in np.unique(plane[marked], axis=0).tolist():
            label = self.colours.get((colour[0], colour[1], colour[2]))
            if label is None:
                raise DataError(f"{self.path} has a colour of no class",
                                expected="colours that labelmap.txt lists", found=str(colour),
                                remedy="Add it to labelmap.txt.")  # fmt: skip
            found.append(crop(label, 0, 0, (plane == np.array(colour)).all(axis=2), exact=True))
        return [patch for patch in found if patch is not None]

    def _by_box(self, marked: NDArray[np.bool_], size: Size) -> list[Patch]:
        left = marked.copy()
        found = []
        for box in self.boxes:
            (patch,) = box.patches(size)
            x, y, width, height = patch.box
            window = (slice(y, y + height), slice(x, x + width))
            found.append(crop(box.label, x, y, marked[window], exact=True) or patch)
            left[window] = False
        if left.any():
            raise DataError(f"{self.path} colours pixels that are in no object's box",
                            found=f"{int(left.sum())} pixels",
                            remedy="Add a labelmap.txt with the colour of each class.")  # fmt: skip
        return found


def _read_colours(path: Path) -> NDArray[np.uint8]:
    pixels = decode(path.read_bytes(), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise DataError(f"{path} is not an image", remedy="Replace the file.")
    return np.asarray(pixels[..., ::-1], np.uint8)


def annotation_files(folder: Path) -> list[Path]:
    """The XML files of a folder in this layout."""
    named = next((p for p in (folder / ANNOTATIONS, folder / "annotations") if p.is_dir()), None)
    return sorted((named or folder).rglob("*.xml"))


def read_voc(reading: Reading) -> Iterator[Row]:
    """Rows of a folder with `Annotations/` and `JPEGImages/`, or with both side by side."""
    base = reading.root or reading.folder
    files = annotation_files(reading.path) if reading.path.is_dir() else [reading.path]
    if not files:
        raise DataError(f"{reading.path} is not in the layout of Pascal VOC",
                        expected=f"XML files in {ANNOTATIONS}/", found="none")  # fmt: skip
    folders = [base / name for name in _IMAGES if (base / name).is_dir()]
    images = [image for folder in folders or [base] for image in images_below(folder)]
    images = [image for image in images if not image.parent.name.startswith("Segmentation")]
    stems = by_stem(images, reading.findings)
    colours = _label_map(reading, base / "labelmap.txt")
    used = set()
    for file in files:
        with reading.findings.gather():
            row = _row(reading, file, _Places(base, folders, stems), colours)
            used.add(row.image)
            yield row
    yield from _unmarked(reading, [image for image in images if image not in used])


def _unmarked(reading: Reading, images: list[Path]) -> Iterator[Row]:
    if images:
        reading.findings.notes.append(
            f"{len(images)} images without an XML file were taken as good"
        )
    for image in images:
        yield Row(image, reading.name_of(image), side=side_of(image.parent.name))


@dataclass(frozen=True, slots=True)
class _Places:
    """Where images may be."""

    base: Path
    folders: list[Path]
    stems: dict[str, Path]

    def image(self, file: Path, name: str) -> Path:
        """The image that an XML file is about: by the name that it says, else by its own stem."""
        for folder in (*self.folders, file.parent, self.base):
            path = inside(folder, name, of=file) if name else folder / file.stem
            if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
                return path
        if file.stem in self.stems:
            return self.stems[file.stem]
        raise DataError(f"image {name or file.stem} is missing",
                        expected=f"a file in {(self.folders or [self.base])[0]}, as {file} says",
                        remedy="Copy it there, or say with --root where the images are.")  # fmt: skip


def _row(
    reading: Reading, file: Path, places: _Places, colours: dict[tuple[int, int, int], str]
) -> Row:
    tree = _parse(file)
    image = places.image(file, (tree.findtext("filename") or "").strip())
    boxes = tuple(_box(reading, file, entry) for entry in tree.iter("object"))
    width, height = _number(file, tree, "size/width"), _number(file, tree, "size/height")
    segments = places.base / _SEGMENTS / f"{file.stem}.png"
    shapes: tuple[Shape, ...] = boxes
    if segments.is_file():
        shapes = (Coloured(boxes, segments, colours),)
    return Row(
        image=image,
        source=reading.name_of(image),
        shapes=shapes,
        size=(round(width), round(height)) if width and height else None,
        side=side_of(file.parent.name, image.parent.name),
        told_by=file,
    )


def _parse(file: Path) -> Element:
    try:
        tree: Any = fromstring(file.read_bytes(), forbid_dtd=True)
    except DefusedXmlException as error:
        raise DataError(f"{file} declares a document type or entities",
                        expected="plain XML", remedy="Remove the declaration, if you trust the file.",
                        ) from error  # fmt: skip
    except (ParseError, ValueError, LookupError) as error:
        raise DataError(f"{file} is not XML: {error}", remedy="Export it again.") from error
    if not isinstance(tree, Element) or tree.tag != "annotation":
        raise DataError(f"{file} is not Pascal VOC's", expected="an element annotation on top",
                        found=str(tree.tag)[:80])  # fmt: skip
    return tree


def _box(reading: Reading, file: Path, entry: Element) -> Box:
    label = reading.label(_text(file, entry, "name"))
    low_x, low_y, high_x, high_y = (_number(file, entry, f"bndbox/{name}", needed=True)
                                    for name in _CORNERS)  # fmt: skip
    if high_x < low_x or high_y < low_y:
        raise DataError(f"a box of class {label} in {file} has no area",
                        expected="xmax and ymax at or above xmin and ymin",
                        found=f"{low_x:g}, {low_y:g} to {high_x:g}, {high_y:g}",
                        remedy="Remove it, or draw it again.")  # fmt: skip
    return Box(label, low_x - 1, low_y - 1, high_x - low_x + 1, high_y - low_y + 1)


def _text(file: Path, entry: Element, path: str) -> str:
    text = (entry.findtext(path) or "").strip()
    if not text:
        raise DataError(f"{file} has an object without {path}", remedy="Name it, or remove it.")
    return text


def _number(file: Path, entry: Element, path: str, *, needed: bool = False) -> float:
    text = _text(file, entry, path) if needed else (entry.findtext(path) or "0").strip()
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{file}: {path} is not a number", found=repr(text[:40]),
                        remedy="Correct it, or export it again.") from error  # fmt: skip


def _label_map(reading: Reading, path: Path) -> dict[tuple[int, int, int], str]:
    """Label by colour, from lines `name:red,green,blue:parts:actions`."""
    colours: dict[tuple[int, int, int], str] = {}
    for line in read_text(path).splitlines() if path.is_file() else []:
        name, _, rest = line.partition(":")
        cells = rest.partition(":")[0].split(",")
        if line.startswith("#") or len(cells) != 3 or not all(c.strip().isdigit() for c in cells):
            continue
        red, green, blue = (int(cell) for cell in cells)
        if (red, green, blue) not in ((0, 0, 0), _VOID):
            colours[red, green, blue] = reading.label(name)
    return colours
