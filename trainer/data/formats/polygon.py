"""Polygons and pixels: filling by pixel centres, and outlines along pixel borders, each undoing the other."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Ring = Sequence[tuple[float, float]]
"""Corners (x, y) in pixels; pixel 0 reaches from 0.0 to 1.0, the last corner joins the first."""


def fill(ring: Ring, size: tuple[int, int]) -> tuple[int, int, NDArray[np.bool_]]:
    """Left, top and [height, width] of the pixels inside, by the even-odd rule, clipped to `size`.

    A pixel is inside where its centre is. A ring so thin that it holds no centre gives the pixels
    that it runs through, so that a scratch that was drawn as a line is not lost.
    """
    corners = np.asarray(ring, np.float64)
    low = np.clip(np.floor(corners.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, size).astype(int)
    width, height = (int(n) for n in np.maximum(high - low, 0))
    toggles = np.zeros((height, width + 1), np.int32)
    _toggle(corners - low, toggles)
    inside = np.asarray(np.cumsum(toggles, axis=1)[:, :width] % 2 == 1, np.bool_)
    if not inside.any() and inside.size:
        canvas = np.zeros((height, width), np.uint8)
        cells = np.floor(corners - low).astype(np.int32)
        cv2.polylines(canvas, [cells], isClosed=True, color=(1,))
        inside = canvas > 0
    return int(low[0]), int(low[1]), inside


def _toggle(ring: NDArray[np.float64], toggles: NDArray[np.int32]) -> None:
    """Adds one where a row of pixel centres crosses an edge; the cells right of it change sides."""
    height, columns = toggles.shape
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 > y1:  # the same arithmetic both ways, so that a seam walked twice cancels
            x0, y0, x1, y1 = x1, y1, x0, y0
        first, last = max(int(np.ceil(y0 - 0.5)), 0), min(int(np.ceil(y1 - 0.5)), height)
        if first >= last:
            continue
        rows = np.arange(first, last)
        crossing = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        cells = np.clip(np.ceil(crossing - 0.5), 0, columns - 1).astype(np.intp)
        np.add.at(toggles, (rows, cells), 1)


def outlines(pixels: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Rings along the pixels' borders, one for each connected group; `fill` of all gives the pixels.

    A hole is joined to its group's outline by a seam of no width, as formats without holes want it.
    """
    count, groups, windows, _ = cv2.connectedComponentsWithStats(
        pixels.astype(np.uint8), connectivity=4
    )
    rings = []
    for number in range(1, count):
        left, top, width, height = (int(n) for n in windows[number][:4])
        window = groups[top : top + height, left : left + width] == number
        rings.append([(left + x, top + y) for x, y in _joined(_loops(window))])
    return rings


def _loops(pixels: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Closed border walks, the marked side on the right; the one with the top left corner first."""
    following = _edges(pixels)
    loops = []
    while following:
        start = min(following, key=lambda corner: (corner[1], corner[0]))
        loops.append(_walk(following, start))
    return loops


def _edges(pixels: NDArray[np.bool_]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Unit steps (dx, dy) by the corner that they leave."""
    padded = np.pad(pixels, 1)
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    sides = (
        (padded[1:-1, 1:-1] & ~padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 1:-1] & ~padded[1:-1, 2:], (1, 0), (0, 1)),
        (padded[1:-1, 1:-1] & ~padded[2:, 1:-1], (1, 1), (-1, 0)),
        (padded[1:-1, 1:-1] & ~padded[1:-1, :-2], (0, 1), (0, -1)),
    )
    for border, (right, down), step in sides:
        for row, column in np.argwhere(border).tolist():
            following.setdefault((column + right, row + down), []).append(step)
    return following


def _walk(
    following: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]
) -> list[tuple[int, int]]:
    """One loop from `start`; takes its steps out of `following`. Only corners are kept."""
    ring: list[tuple[int, int]] = []
    place, came = start, (0, 0)
    while place in following:
        steps = following[place]
        # Where two pixels touch by a corner, turn towards the marked side: loops do not cross.
        step = next((s for s in steps if s == (-came[1], came[0])), steps[0])
        steps.remove(step)
        if not steps:
            del following[place]
        if step != came:
            ring.append(place)
        place, came = (place[0] + step[0], place[1] + step[1]), step
        if place == start:
            break
    return ring


def _joined(loops: list[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """The first loop with every other one hung in by a seam that is walked both ways."""
    ring = loops[0]
    for hole in loops[1:]:
        anchor = ring[0]
        ring = [*ring, anchor, *hole, hole[0], anchor]
    return ring
