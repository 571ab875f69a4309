"""Just enough of PNG to refuse what is none: signature, header, sides."""

import struct
from pathlib import Path

from fleet_contract.errors import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">I4sII")
LARGEST_SIDE = 16_384
"""Pixels; a header that claims more is refused before anything decodes it."""


def check_png(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of the PNG that begins in the file.

    Raises DataError for anything but a PNG of sane size.
    """
    with path.open("rb") as file:
        head = file.read(len(_SIGNATURE) + _HEADER.size)
    if not head.startswith(_SIGNATURE) or len(head) < len(_SIGNATURE) + _HEADER.size:
        raise DataError("a sample is no PNG", found=repr(head[:8]))
    _, kind, width, height = _HEADER.unpack(head[len(_SIGNATURE) :])
    if kind != b"IHDR" or not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise DataError(
            "a sample's sides are out of bounds",
            expected=f"1 to {LARGEST_SIDE} pixels",
            found=f"{width} x {height}",
        )
    return width, height
