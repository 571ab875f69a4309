"""Image files as they are stored: depth, channels, and the turn that a viewer would give them."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import DataError

_EXIF_WITHIN = 1 << 18
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image file."""

    data: bytes
    pixels: NDArray[Any]
    """uint8 or uint16 [height, width] or [height, width, 3], as stored: no turn is applied."""
    orientation: int
    """The file's note (EXIF, 1 to 8) of how a viewer turns it; 1: not at all."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as stored."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height in a viewer."""
        width, height = self.size
        return (height, width) if self.orientation >= 5 else (width, height)

    @property
    def depth(self) -> Literal[8, 16]:
        """Bits of a channel."""
        return 8 if self.pixels.dtype == np.uint8 else 16

    @property
    def channels(self) -> Literal[1, 3]:
        """1 grey, 3 colour."""
        return 1 if self.pixels.ndim == 2 else 3


def read_picture(path: Path) -> Picture:
    """The image in a file. Raises DataError that names the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}",
                        remedy="Copy it there, or leave it out.") from error  # fmt: skip
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = decode(data, flags)
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path} is not an image that can be used",
            expected="PNG, JPEG, BMP or TIFF with 8 or 16 bits a channel",
            found=f"{len(data)} bytes" if pixels is None else str(pixels.dtype),
            remedy="Replace the file, or leave it out.",
        )
    return Picture(data, pixels, orientation_of(data))


def decode(data: bytes, flags: int) -> NDArray[Any] | None:
    """Pixels of an encoded image in OpenCV's order; None where the bytes are none."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # a header that promises more pixels than anyone has
        return None
    return None if pixels is None else np.asarray(pixels)


def orientation_of(data: bytes) -> int:
    """The orientation (1 to 8) that the EXIF block of a JPEG or PNG notes; 1 where there is none.

    Exif 2.3, section 4.6.4: tag 0x0112 of the first directory.
    """
    for mark, skip in ((b"Exif\0\0", 6), (b"eXIf", 4)):
        place = data.find(mark, 0, _EXIF_WITHIN)
        if place >= 0:
            try:
                return _orientation(data[place + skip : place + skip + _EXIF_WITHIN])
            except struct.error:
                return 1
    return 1


def _orientation(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for number in range(count):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * number)
        if tag == _ORIENTATION_TAG and 1 <= value <= 8:
            return int(value)
    return 1


def turn_back(shown: NDArray[Any], orientation: int) -> NDArray[Any]:
    """An array as the file stores it, from one as a viewer shows it."""
    turned = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.swapaxes(0, 1),
        6: np.rot90(shown, 1),
        7: shown[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(shown, -1),
    }[orientation]
    return np.ascontiguousarray(turned)
