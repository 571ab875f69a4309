"""Marks on an image as sources write them, each painted as patches of pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import MASK_DEFECT, MASK_SOMEWHERE
from fleet_contract.errors import DataError
from trainer.data.formats.picture import decode
from trainer.data.formats.polygon import fill

Size = tuple[int, int]
"""Width and height in pixels."""

_FAR = 10
"""Corners further away than so many images are no slip of a hand."""


class WrongSizeError(DataError):
    """An annotation was made on an image of another size."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Marked pixels of one defect."""

    label: str
    left: int
    top: int
    pixels: NDArray[np.bool_]
    """[height, width] of the patch; at least one is marked."""
    exact: bool
    """Whether these are the defect's pixels, or only a box around it."""
    single: bool = True
    """Whether the source tells this defect from the image's others."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width, height."""
        return self.left, self.top, self.pixels.shape[1], self.pixels.shape[0]


class Shape(Protocol):
    """A mark. `drawn` says whether a person drew it over the image as a viewer shows it."""

    @property
    def drawn(self) -> bool:
        """False for masks that are images themselves."""

    def patches(self, size: Size) -> list[Patch]:
        """What it marks on an image of that size. Raises DataError."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle that a defect lies in, in pixels; pixel 0 reaches from 0.0 to 1.0."""

    label: str
    left: float
    top: float
    width: float
    height: float
    drawn = True

    def patches(self, size: Size) -> list[Patch]:
        """The whole pixels that it covers, inside of the image."""
        numbers = (self.left, self.top, self.width, self.height)
        if not all(isfinite(n) for n in numbers) or self.width <= 0 or self.height <= 0:
            raise DataError(f"a box of class {self.label} has no area",
                            expected="left, top, width and height in pixels, the sides above 0",
                            found=", ".join(f"{n:g}" for n in numbers),
                            remedy="Remove it, or draw it again.")  # fmt: skip
        left, right = _span(self.left, self.width, size[0])
        top, bottom = _span(self.top, self.height, size[1])
        if left >= right or top >= bottom:
            raise outside(self.label, "box", numbers, size)
        pixels = np.ones((bottom - top, right - left), np.bool_)
        return [Patch(self.label, left, top, pixels, exact=False)]


def _span(start: float, length: float, limit: int) -> tuple[int, int]:
    """First pixel and the one after the last; a box thinner than a pixel takes the one it is in."""
    first, last = round(start), round(start + length)
    if last == first:
        first = int(np.floor(start + length / 2))
        last = first + 1
    return max(first, 0), min(last, limit)


Ring = tuple[tuple[float, float], ...]
"""Corners (x, y) in pixels."""


def corners(numbers: Sequence[float], path: Path) -> Ring:
    """A ring from x and y in turn, as `path` lists them. Raises DataError for an odd number."""
    if len(numbers) % 2:
        raise DataError(f"a polygon in {path} has a corner without its y",
                        expected="x and y in turn", found=f"{len(numbers)} numbers",
                        remedy="Remove it, or draw it again.")  # fmt: skip
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class Polygon:
    """One or more closed rings; each is filled by the even-odd rule, all together are the defect."""

    label: str
    rings: tuple[Ring, ...]
    exact: bool = True
    drawn = True

    def patches(self, size: Size) -> list[Patch]:
        """The pixels whose centre lies inside, clipped to the image."""
        plane = np.zeros((size[1], size[0]), np.bool_)
        for ring in self.rings:
            self._check(ring, size)
            left, top, inside = fill(ring, size)
            plane[top : top + inside.shape[0], left : left + inside.shape[1]] |= inside
        found = crop(self.label, 0, 0, plane, exact=self.exact)
        if found is None:
            numbers = tuple(number for corner in self.rings[0][:3] for number in corner)
            raise outside(self.label, "polygon", numbers, size)
        return [found]

    def _check(self, ring: Ring, size: Size) -> None:
        points = np.array(ring, np.float64).reshape(-1, 2)
        if len(points) < 3 or not np.isfinite(points).all():
            raise DataError(f"a polygon of class {self.label} is not one",
                            expected="three corners or more, each two numbers",
                            found=f"{len(points)} corners",
                            remedy="Remove it, or draw it again.")  # fmt: skip
        if (points.max(axis=0) <= points.min(axis=0)).all():
            raise DataError(f"a polygon of class {self.label} has no area",
                            found=f"every corner at {points[0][0]:g}, {points[0][1]:g}",
                            remedy="Remove it, or draw it again.")  # fmt: skip
        if np.abs(points).max() > _FAR * max(size):
            raise outside(self.label, "polygon", tuple(points[0]), size)


@dataclass(frozen=True, slots=True)
class Pixels:
    """Marked pixels of the whole image, from an encoding that `decode` undoes when it is asked."""

    label: str
    code: "PixelCode"
    drawn = True

    def patches(self, size: Size) -> list[Patch]:
        """Its marked pixels."""
        found = crop(self.label, 0, 0, self.code.decode(size), exact=True)
        if found is None:
            raise DataError(f"a mask of class {self.label} marks no pixel",
                            remedy="Remove it, or draw it again.")  # fmt: skip
        return [found]


class PixelCode(Protocol):
    """An encoding of a mask."""

    def decode(self, size: Size) -> NDArray[np.bool_]:
        """[height, width]. Raises DataError where it is of another size or broken."""


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask as an image file: light on a defect, dark elsewhere. It may be empty."""

    label: str
    path: Path
    drawn = False

    def patches(self, size: Size) -> list[Patch]:
        """Its light pixels, not told apart."""
        mask = read_mask(self.path)
        if (mask.shape[1], mask.shape[0]) != size:
            raise wrong_size(f"mask {self.path}", (mask.shape[1], mask.shape[0]), size)
        found = crop(self.label, 0, 0, mask, exact=True, single=False)
        return [] if found is None else [found]


def read_mask(path: Path) -> NDArray[np.bool_]:
    """[height, width]: True on a defect. Raises DataError that names the file.

    Two values: the higher one marks. More (a mask that was smoothed, or saved as JPEG): what is
    lighter than half.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"mask {path} cannot be read: {error.strerror}",
                        remedy="Copy it there, or leave it out.") from error  # fmt: skip
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = decode(data, flags)
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(f"mask {path} is not an image", expected="a grey PNG, BMP, TIFF or JPEG",
                        found=f"{len(data)} bytes", remedy="Replace the file.")  # fmt: skip
    return _light(path, pixels)


def _light(path: Path, pixels: NDArray[Any]) -> NDArray[np.bool_]:
    high = int(pixels.max())
    if not ((pixels > 0) & (pixels < high)).any():
        return np.asarray(pixels > 0, np.bool_)
    half = np.iinfo(pixels.dtype).max // 2
    if high <= half:
        raise DataError(
            f"mask {path} cannot be understood", expected="0, and one value on the defects",
            found=f"several values up to {high} of {2 * half + 1}",
            remedy="Write it in black and white; a file for each class, where it numbers classes.",
        )  # fmt: skip
    return np.asarray(pixels > half, np.bool_)


def crop(
    label: str, left: int, top: int, pixels: NDArray[np.bool_], *, exact: bool, single: bool = True
) -> Patch | None:
    """The patch around what is marked; None where nothing is."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not rows.size:
        return None
    cut = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Patch(label, left + int(columns[0]), top + int(rows[0]), cut, exact, single)


def paint(patches: list[Patch], size: Size) -> NDArray[np.uint8]:
    """[height, width]: `MASK_DEFECT` on exact pixels, `MASK_SOMEWHERE` in boxes, 0 elsewhere."""
    plane = np.zeros((size[1], size[0]), np.uint8)
    for patch in patches:
        left, top, width, height = patch.box
        value = MASK_DEFECT if patch.exact else MASK_SOMEWHERE
        view = plane[top : top + height, left : left + width]
        np.maximum(view, patch.pixels.astype(np.uint8) * np.uint8(value), out=view)
    return plane


def largest_label(patches: list[Patch]) -> str | None:
    """The class of the patch with the most marked pixels; the first of equals."""
    largest = max(patches, key=lambda patch: int(patch.pixels.sum()), default=None)
    return None if largest is None else largest.label


def outside(label: str, what: str, numbers: tuple[float, ...], size: Size) -> DataError:
    """The error for a mark that lies beside the image."""
    return DataError(
        f"a {what} of class {label} lies outside of the image",
        expected=f"inside of {size[0]}x{size[1]} pixels",
        found=", ".join(f"{n:g}" for n in numbers),
        remedy="Look whether the image was resized after it was annotated.",
    )


def wrong_size(what: str, found: Size, expected: Size) -> WrongSizeError:
    """The error for an annotation that was made on an image of another size."""
    return WrongSizeError(
        f"{what} has another size than its image",
        expected=f"{expected[0]}x{expected[1]}",
        found=f"{found[0]}x{found[1]}",
        remedy="Annotate, or export, at the image's size.",
    )
