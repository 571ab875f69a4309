"""Just enough of PNG to refuse what is none: signature, header, sides."""

import base64
import struct
from pathlib import Path

from fleet_contract.errors import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">I4sII")
LARGEST_SIDE = 16_384
"""Pixels; a header that claims more is refused before anything decodes it."""
LARGEST_HEAT_SIDE = 256


def check_png(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of the PNG that begins in the file.

    Raises DataError for anything but a PNG of sane size.
    """
    with path.open("rb") as file:
        return _sides(file.read(len(_SIGNATURE) + _HEADER.size))


def decode_heat_map(text: str) -> bytes:
    """The PNG in base64. Raises DataError for anything but a PNG of LARGEST_HEAT_SIDE at most."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise DataError("a heat map is not base64", found=text[:40]) from error
    if max(_sides(data[: len(_SIGNATURE) + _HEADER.size])) > LARGEST_HEAT_SIDE:
        raise DataError("a heat map is too large", expected=f"{LARGEST_HEAT_SIDE} pixels a side")
    return data


def _sides(head: bytes) -> tuple[int, int]:
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
