"""A frame as the views that a graph sees, and their maps as one: tiling, as the manifest says.

The trainer learns from the same views that a device judges.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.manifest import Preprocess

Corner = tuple[int, int]
"""(top, left) of a tile on the canvas."""


def corners(spec: Preprocess) -> list[Corner]:
    """Where the tiles lie on the canvas, row by row."""
    if spec.tiling is None:
        return [(0, 0)]
    step_y, step_x = spec.height - spec.tiling.overlap, spec.width - spec.tiling.overlap
    return [
        (row * step_y, column * step_x)
        for row in range(spec.tiling.rows)
        for column in range(spec.tiling.columns)
    ]


def views(canvas: NDArray[np.uint8], spec: Preprocess) -> list[NDArray[np.uint8]]:
    """[height, width, channels] each: the tiles, then the whole where the manifest asks for it."""
    if spec.tiling is None:
        return [canvas]
    tiles = [canvas[y : y + spec.height, x : x + spec.width] for y, x in corners(spec)]
    return [*tiles, shrink(canvas, spec)] if spec.tiling.whole else tiles


def shrink(canvas: NDArray[np.uint8], spec: Preprocess) -> NDArray[np.uint8]:
    """The whole canvas at the graph's size, [height, width, channels]."""
    small = cv2.resize(canvas, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).reshape(spec.height, spec.width, canvas.shape[2])


def stitch(maps: list[NDArray[np.float32]], spec: Preprocess) -> NDArray[np.float32]:
    """One map over the whole frame from those of its `views`: the largest value of each place.

    Maps are [..., h, w] at any stride that divides the graph's size and the overlap.
    """
    if spec.tiling is None:
        return maps[0]
    places = corners(spec)
    rows, columns = maps[0].shape[-2:]
    stride_y, stride_x = spec.height / rows, spec.width / columns
    high, wide = spec.canvas
    shape = (*maps[0].shape[:-2], round(high / stride_y), round(wide / stride_x))
    whole = np.full(shape, -np.inf, np.float32)
    for (top, left), one in zip(places, maps, strict=False):
        y, x = round(top / stride_y), round(left / stride_x)
        place = whole[..., y : y + rows, x : x + columns]
        np.maximum(place, one, out=place)
    if spec.tiling.whole:
        np.maximum(whole, _enlarged(maps[-1], shape[-1], shape[-2]), out=whole)
    return whole


def _enlarged(maps: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    flat = maps.reshape(-1, *maps.shape[-2:])
    size = (width, height)
    grown = [cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in flat]
    return np.stack(grown).reshape(*maps.shape[:-2], height, width)
