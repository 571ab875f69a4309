"""One row into the store: its image as it is, its marks as one mask, and what both say of it."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import GOOD, Region
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import encode_png
from trainer.data.formats.picture import Picture, read_picture, turn_back
from trainer.data.formats.reading import Findings, Row
from trainer.data.formats.shapes import (
    Patch,
    Shape,
    Size,
    WrongSizeError,
    crop,
    largest_label,
    paint,
    wrong_size,
)
from trainer.data.scan import thumbnail
from trainer.data.store import Store


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store holds of a row."""

    row: Row
    sha256: str
    label: str
    mask: str | None
    regions: tuple[Region, ...]
    depth: Literal[8, 16]
    channels: Literal[1, 3]
    thumbnail: NDArray[np.float32]


def keep(store: Store, row: Row, findings: Findings) -> Kept:
    """Stores image and mask. Raises DataError that names the image and what is wrong with it."""
    picture = read_picture(row.image)
    if picture.pixels.max() == picture.pixels.min():
        raise DataError(f"{row.image} is empty: every pixel is {picture.pixels.max()}",
                        remedy="Replace the file, or leave it out.")  # fmt: skip
    try:
        patches = _patches(row, picture)
    except DataError as error:
        raise _named(error, row) from error
    label = row.label or largest_label(patches) or GOOD
    if label == GOOD and patches:
        raise DataError(f"{_marks(row)} a defect in a good image, {row.source}",
                        expected="no mark, or the label of a defect",
                        remedy="Correct the label, or remove the mark.")  # fmt: skip
    if not patches and row.shapes and label != GOOD:
        findings.remark("have an empty mask: only their label is used", row.source)
    patches = [] if _says_nothing(patches, picture.size) else patches
    return Kept(
        row=row,
        sha256=store.put(picture.data),
        label=label,
        mask=store.put(encode_png(paint(patches, picture.size))) if patches else None,
        regions=tuple(Region(label=p.label, box=p.box, exact=p.exact) for p in patches if p.single),
        depth=picture.depth,
        channels=picture.channels,
        thumbnail=thumbnail(picture.pixels),
    )


def _named(error: DataError, row: Row) -> DataError:
    told = "" if row.told_by in (None, row.image) else f" (in {row.told_by})"
    return DataError(f"{row.source}{told}: {error.what}", expected=error.expected,
                     found=error.found, remedy=error.remedy)  # fmt: skip


def _marks(row: Row) -> str:
    paths = [str(path) for shape in row.shapes if (path := getattr(shape, "path", None))]
    return f"mask {paths[0]} marks" if paths else f"{row.told_by} marks"


def _says_nothing(patches: list[Patch], size: Size) -> bool:
    """Whether the only mark is a box over the whole image: it says no more than the label does."""
    if len(patches) != 1 or patches[0].exact:
        return False
    return patches[0].box == (0, 0, *size) and bool(patches[0].pixels.all())


def _patches(row: Row, picture: Picture) -> list[Patch]:
    """Marks in the frame that the file stores, which is the one that models see."""
    if row.size not in (None, picture.size, picture.shown_size):
        raise wrong_size("the annotation", row.size or (0, 0), picture.size)
    return [patch for shape in row.shapes for patch in _of_shape(shape, row, picture)]


def _of_shape(shape: Shape, row: Row, picture: Picture) -> list[Patch]:
    stored, shown = picture.size, picture.shown_size
    if picture.orientation == 1:
        return shape.patches(stored)
    if not shape.drawn:
        try:
            return shape.patches(stored)
        except WrongSizeError:
            if stored == shown:
                raise
            return [_turned(patch, picture) for patch in shape.patches(shown)]
    if row.size == stored != shown:  # the tool that drew it did not turn the image
        return shape.patches(stored)
    return [_turned(patch, picture) for patch in shape.patches(shown)]


def _turned(patch: Patch, picture: Picture) -> Patch:
    width, height = picture.shown_size
    plane = np.zeros((height, width), np.bool_)
    left, top, across, down = patch.box
    plane[top : top + down, left : left + across] = patch.pixels
    found = crop(patch.label, 0, 0, turn_back(plane, picture.orientation), exact=patch.exact)
    if found is None:
        raise ValueError("a patch marks at least one pixel")
    return replace(found, single=patch.single)
