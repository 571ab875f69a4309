"""An item as exporters write it: its image's bytes, and each defect with its box and pixels."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import GOOD, MASK_DEFECT, MASK_SOMEWHERE, DatasetItem
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import encode_png
from trainer.data.formats.picture import decode, orientation_of
from trainer.data.formats.shapes import Size, crop
from trainer.data.store import Store

Rectangle = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""
_PLAIN = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION


@dataclass(frozen=True, slots=True)
class Defect:
    """A defect of an image."""

    label: str
    box: Rectangle
    pixels: NDArray[np.bool_] | None
    """[height, width] of the box; None: it is somewhere in the box."""

    def plane(self, size: Size) -> NDArray[np.bool_]:
        """[height, width] of the image: the whole box where the pixels are not known."""
        left, top, width, height = self.box
        plane = np.zeros((size[1], size[0]), np.bool_)
        plane[top : top + height, left : left + width] = (
            True if self.pixels is None else self.pixels
        )
        return plane


@dataclass(frozen=True, slots=True)
class Exported:
    """An item, ready to be written."""

    item: DatasetItem
    size: Size
    defects: tuple[Defect, ...]
    """None of a good image; one over all of it where only the label is known."""
    name: str = ""
    """The image's file name."""

    def named(self, name: str) -> "Exported":
        """With that file name."""
        return replace(self, name=name)


def exported(store: Store, item: DatasetItem) -> tuple[Exported, bytes]:
    """The item and the bytes of its image. Raises DataError that names it."""
    data = store.get(item.sha256)
    pixels = decode(data, _PLAIN)
    if pixels is None:
        raise DataError(f"{item.source or item.sha256[:12]} is not an image that can be read")
    if orientation_of(data) != 1:
        # Tools turn it by the note in the file; models and masks do not.
        data = encode_png(pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1]))
    size = (pixels.shape[1], pixels.shape[0])
    return Exported(item, size, tuple(_defects(store, item, size))), data


def _defects(store: Store, item: DatasetItem, size: Size) -> list[Defect]:
    if item.label == GOOD:
        return []
    mask = None if item.mask is None else decode(store.get(item.mask), _PLAIN)
    if mask is None:
        return [Defect(item.label, (0, 0, *size), None)]
    if item.regions:
        return _of_regions(item, mask)
    found = [_exact(item.label, mask == MASK_DEFECT, (0, 0))] if (mask == MASK_DEFECT).any() else []
    return found + [Defect(item.label, box, None) for box in _boxes(mask == MASK_SOMEWHERE)]


def _of_regions(item: DatasetItem, mask: NDArray[np.uint8]) -> list[Defect]:
    """Each region with the exact pixels in its box; those in several boxes go to the smallest."""
    left = mask == MASK_DEFECT
    found: dict[int, Defect] = {}
    order = sorted(range(len(item.regions)), key=lambda i: _area(item.regions[i].box))
    for index in order:
        region = item.regions[index]
        x, y, width, height = region.box
        window = left[y : y + height, x : x + width]
        if region.exact and window.any():
            found[index] = _exact(region.label, window.copy(), (x, y))
            window[:] = False
        elif not region.exact:
            found[index] = Defect(region.label, region.box, None)
    return [found[index] for index in sorted(found)]


def _exact(label: str, pixels: NDArray[np.bool_], at: tuple[int, int]) -> Defect:
    patch = crop(label, *at, pixels, exact=True)
    if patch is None:
        raise ValueError("a defect marks at least one pixel")
    return Defect(label, patch.box, patch.pixels)


def _boxes(pixels: NDArray[np.bool_]) -> list[Rectangle]:
    _, _, windows, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=4)
    return [(int(x), int(y), int(w), int(h)) for x, y, w, h, _ in windows[1:]]


def _area(box: Rectangle) -> int:
    return box[2] * box[3]
