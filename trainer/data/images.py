"""Dataset items as arrays, preprocessed exactly as a device will preprocess frames."""

import tempfile
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import GOOD, MASK_DEFECT, MASK_SOMEWHERE, DatasetItem
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import Frame, decode_image, preprocess
from fleet_contract.inference.views import shrink
from fleet_contract.manifest import Preprocess
from trainer.data.store import Store

CLEAN, SOMEWHERE, FIRST_KIND = 0, 1, 2
"""Marks of a pixel: no defect; a defect is somewhere in this box; defective, of class `mark - 2`."""
_MOST_MEMORY = 512 * 2**20
"""Larger arrays lie in a file, of which the system keeps in memory what it can."""


@dataclass(frozen=True, slots=True)
class Images:
    """Items in memory at the canvas' size."""

    items: list[DatasetItem]
    classes: list[str]
    """Of defects; a mark's class is an index into it."""
    pixels: NDArray[np.uint8]
    """[n, height, width, channels], channels in the graph's order."""
    marks: NDArray[np.uint8]
    """[n, height, width]; all CLEAN where no place is known."""
    small_pixels: NDArray[np.uint8] | None
    """[n, height, width, channels] at the graph's size, where the line is judged in tiles and whole."""
    small_marks: NDArray[np.uint8] | None

    def __len__(self) -> int:
        return len(self.items)

    def take(self, indices: NDArray[np.intp]) -> "Images":
        """Only those items."""
        small, small_marks = self.small_pixels, self.small_marks
        return Images(
            [self.items[int(index)] for index in indices], self.classes,
            self.pixels[indices], self.marks[indices],
            None if small is None else small[indices],
            None if small_marks is None else small_marks[indices],
        )  # fmt: skip

    def good(self) -> "Images":
        """Only the good ones."""
        return self.take(np.flatnonzero(~self.defective))

    def mirrored_colours(self) -> "Images":
        """Red and blue changed places, as a wrongly set camera gives them."""
        small = None if self.small_pixels is None else self.small_pixels[..., ::-1]
        pixels = np.ascontiguousarray(self.pixels[..., ::-1])
        return Images(self.items, self.classes, pixels, self.marks, small, self.small_marks)

    @property
    def defective(self) -> NDArray[np.bool_]:
        """[n]."""
        return np.array([item.label != GOOD for item in self.items], np.bool_)

    @property
    def located(self) -> NDArray[np.bool_]:
        """[n]: whether it is known where the defects are. Of a good image it is: nowhere."""
        return np.array([item.mask is not None or item.label == GOOD for item in self.items])

    @property
    def kinds(self) -> NDArray[np.intp]:
        """[n] index of the item's class; -1 for a good one."""
        return np.array(
            [-1 if i.label == GOOD else self.classes.index(i.label) for i in self.items]
        )


def load_frame(store: Store, item: DatasetItem, channels: int, depth: Any = 8) -> Frame:
    """The item's image as a camera would give it. Raises DataError that names the item."""
    try:
        return decode_image(store.get(item.sha256), channels, depth)
    except DataError as error:
        raise DataError(f"{item.source or item.sha256[:12]}: {error}") from error


def load_images(
    store: Store, items: list[DatasetItem], spec: Preprocess, classes: list[str]
) -> Images:
    """All `items`, preprocessed by `spec`. Raises DataError for one that cannot be read."""
    channels = 1 if spec.channel_order == "grey" else 3
    depth = 8 if spec.levels is None else 16
    high, wide = spec.canvas
    pixels = _array((len(items), high, wide, channels))
    marks = _array((len(items), high, wide))
    both = spec.tiling is not None and spec.tiling.whole
    small = (spec.height, spec.width)
    small_pixels = _array((len(items), *small, channels)) if both else None
    small_marks = _array((len(items), *small)) if both else None
    for index, item in enumerate(items):
        pixels[index] = preprocess(load_frame(store, item, channels, depth), spec)
        if small_pixels is not None:
            small_pixels[index] = shrink(pixels[index], spec)
        if item.mask is None:
            continue
        kinds = load_kinds(store, item, classes)
        marks[index] = shrink_marks(kinds, (high, wide))
        if small_marks is not None:
            small_marks[index] = shrink_marks(kinds, small)
    return Images(items, classes, pixels, marks, small_pixels, small_marks)


def load_kinds(store: Store, item: DatasetItem, classes: list[str]) -> NDArray[np.uint8]:
    """[height, width] marks at the size of the item's image. Raises DataError.

    A defective pixel has the class of the smallest marked region around it, else the item's.
    """
    assert item.mask is not None
    mask = decode_image(store.get(item.mask), channels=1)
    own = FIRST_KIND + (classes.index(item.label) if item.label in classes else 0)
    kinds = np.full(mask.shape, own, np.uint8)
    for region in sorted(item.regions, key=lambda r: -r.box[2] * r.box[3]):
        left, top, width, height = region.box
        if region.label in classes:
            kinds[top : top + height, left : left + width] = FIRST_KIND + classes.index(
                region.label
            )
    kinds[mask < MASK_DEFECT] = SOMEWHERE
    kinds[mask < MASK_SOMEWHERE] = CLEAN
    return kinds


def shrink_marks(marks: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """[height, width] of `size`; a cell that a defect touches is defective."""
    result = np.zeros(size, np.uint8)
    for mark in np.unique(marks):
        if mark != CLEAN:
            share = cv2.resize((marks == mark).astype(np.float32), size[::-1],
                               interpolation=cv2.INTER_AREA)  # fmt: skip
            result[share > 0] = mark
    return result


def _array(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Zeros; in a nameless temporary file where they are many."""
    size = int(np.prod(shape))
    if size <= _MOST_MEMORY:
        return np.zeros(shape, np.uint8)
    with tempfile.TemporaryFile(prefix="loupe-images-") as file:
        file.truncate(size)
        return np.memmap(file, np.uint8, "r+", shape=shape)
