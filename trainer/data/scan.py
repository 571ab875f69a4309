"""What the images and masks of a version are, each read once: sides, depth, light, thumbnail, defects."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import MASK_SOMEWHERE, DatasetItem, Region
from fleet_contract.errors import DataError
from trainer.data.store import Store

Tick = Callable[[int, int], None]
"""Told (done, total)."""

THUMBNAIL_SIDE = 16
_WORK_SIDE = 256
"""Light and texture are measured on a picture whose shorter side is at most this."""
_REDUCED_FROM = 2048
"""JPEG images with a shorter side from here on are decoded at an eighth of their sides."""
_SPECKLE = 4
"""Components of fewer pixels are no defect of their own beside a larger one."""
_PLAIN = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """One image file."""

    problem: str = ""
    """Why it cannot be used; nothing else is known then."""
    width: int = 0
    height: int = 0
    channels: int = 0
    """1, or 3 where the file holds colours that are not grey."""
    depth: int = 0
    """Bits of a channel."""
    mean: float = 0.0
    """Grey level of 255, also of images of 16 bits."""
    contrast: float = 0.0
    """Standard deviation of the grey levels of 255."""
    sharpness: float = 0.0
    """Variance of the Laplacian over the squared mean: does not move with the light."""
    pixels: str = ""
    """Digest of the decoded pixels; empty where they were decoded at a smaller size."""
    thumbnail: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.float32)
    )
    """[16, 16] float32 grey levels."""


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """One mask file."""

    problem: str = ""
    width: int = 0
    height: int = 0
    defects: tuple[tuple[int, int], ...] = ()
    """Shorter side of the box and area of every marked component (8 neighbours), in pixels."""
    regions: tuple[int, ...] = ()
    """Marked pixels inside the box of each of the item's regions."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An item with what its files are."""

    item: DatasetItem
    image: ImageFacts
    mask: MaskFacts | None
    """None where the item has none."""


def scan(store: Store, items: list[DatasetItem], tick: Tick | None = None) -> list[Seen]:
    """Reads every image and mask, on all cores; a file that cannot be read is a fact, not an error."""
    seen: list[Seen] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(lambda item: _see(store, item), items):
            seen.append(one)
            if tick is not None:
                tick(len(seen), len(items))
    return seen


def _see(store: Store, item: DatasetItem) -> Seen:
    try:
        image = image_facts(store.get(item.sha256))
    except DataError as error:
        image = ImageFacts(problem=error.what)
    if item.mask is None:
        return Seen(item, image, None)
    try:
        return Seen(item, image, mask_facts(store.get(item.mask), item.regions))
    except DataError as error:
        return Seen(item, image, MaskFacts(problem=error.what))


def image_facts(data: bytes) -> ImageFacts:
    """What the bytes of an image file are."""
    sides = jpeg_sides(data)
    large = sides is not None and min(sides) >= _REDUCED_FROM
    pixels = _decoded(data, _PLAIN | cv2.IMREAD_REDUCED_GRAYSCALE_8 if large else _PLAIN)
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        found = "not an image" if pixels is None else f"{pixels.dtype} pixels"
        return ImageFacts(problem=f"{found}: {len(data)} bytes")
    depth = 8 * pixels.dtype.itemsize
    width, height = sides if sides is not None and large else (pixels.shape[1], pixels.shape[0])
    grey = _grey(pixels) / np.float32(2 ** (depth - 8))
    level = max(float(grey.mean()), 1.0)
    return ImageFacts(
        width=width, height=height, channels=_channels(pixels), depth=depth,
        mean=float(grey.mean()), contrast=float(grey.std()),
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F).var() / level**2),
        pixels="" if large else _digest(pixels),
        thumbnail=thumbnail(grey),
    )  # fmt: skip


def thumbnail(picture: NDArray[Any]) -> NDArray[np.float32]:
    """[16, 16] float32 grey levels of a picture, grey or RGB, of any size and depth."""
    cells = cv2.resize(
        _grey(picture), (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA
    )
    return np.asarray(cells, np.float32)


def mask_facts(data: bytes, regions: Sequence[Region] = ()) -> MaskFacts:
    """What the bytes of a mask file are, and how much of it lies in each region's box."""
    mask = _decoded(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if mask is None:
        return MaskFacts(problem=f"not an image: {len(data)} bytes")
    marked = np.asarray(mask >= MASK_SOMEWHERE, np.uint8)
    return MaskFacts(
        width=mask.shape[1], height=mask.shape[0], defects=tuple(_components(marked)),
        regions=tuple(int(_inside(marked, region).sum()) for region in regions),
    )  # fmt: skip


def _inside(marked: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    left, top, width, height = region.box
    return marked[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]


def _components(marked: NDArray[np.uint8]) -> Iterable[tuple[int, int]]:
    found = np.asarray(cv2.connectedComponentsWithStats(marked, connectivity=8)[2])[1:]
    if not len(found):
        return []
    areas = found[:, cv2.CC_STAT_AREA]
    sides = found[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].min(axis=1)
    kept = areas >= min(_SPECKLE, int(areas.max()))
    return [(int(s), int(a)) for s, a in zip(sides[kept], areas[kept], strict=True)]


def _decoded(data: bytes, flags: int) -> NDArray[Any] | None:
    buffer = np.frombuffer(data, np.uint8)
    try:
        pixels = cv2.imdecode(buffer, flags) if buffer.size else None
    except cv2.error:  # a header that promises more than the decoder allows
        return None
    return None if pixels is None else np.asarray(pixels)


def _grey(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """[h, w] float32, its shorter side at most `_WORK_SIDE`."""
    shrink = _WORK_SIDE / min(pixels.shape[:2])
    if shrink < 1:
        size = (max(round(pixels.shape[1] * shrink), 1), max(round(pixels.shape[0] * shrink), 1))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return np.asarray(grey, np.float32)


def _channels(pixels: NDArray[Any]) -> int:
    """3 only where there are colours: many cameras write grey as three equal channels."""
    if pixels.ndim == 2:
        return 1
    few = pixels[::4, ::4].astype(np.int64)
    return 1 if (few.max(axis=2) == few.min(axis=2)).all() else 3


def _digest(pixels: NDArray[Any]) -> str:
    shape = f"{pixels.shape}{pixels.dtype}".encode()
    return hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def jpeg_sides(data: bytes) -> tuple[int, int] | None:
    """Width and height that the frame header (SOF) of a JPEG file gives; None for other files.

    ITU-T T.81, B.2: after the two bytes of the start, every segment is 0xFF, its kind, its length.
    """
    place = 2 if data[:2] == b"\xff\xd8" else len(data)
    while place + 9 <= len(data) and data[place] == 0xFF:
        kind, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(data[place + 5 : place + 7], "big")
            return int.from_bytes(data[place + 7 : place + 9], "big"), height
        # A filler byte before a marker stands alone.
        place += 1 if kind == 0xFF else 2 + length
    return None
