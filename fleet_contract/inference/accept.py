"""Acceptance limits: defects are located in the heat map, measured, and held against the line's limits."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.manifest import Acceptance, Limit, Zone

ANY = "*"
_ROUNDING = 1 + 1e-6
"""What lies at a limit is within it, however the product of scale and pixels is rounded."""


@dataclass(frozen=True, slots=True)
class FoundDefect:
    """One connected place of the heat map above the level."""

    kind: str
    """Its class, or '' where the model does not tell classes apart."""
    box: tuple[int, int, int, int]
    """Left, top, width, height in pixels of the frame."""
    centre: tuple[float, float]
    """(x, y) in shares of the frame's width and height."""
    length_px: float
    """Longest side of the smallest rectangle around it, in pixels of the frame."""
    area_px: float
    peak: float
    """Highest heat in it, 0 to 1."""


def locate(
    heat: NDArray[np.float32],
    kinds: NDArray[np.float32] | None,
    classes: list[str],
    size: tuple[int, int],
    level: float,
) -> tuple[FoundDefect, ...]:
    """Defects in `heat` ([h, w], 0 to 1) of a frame of `size` (height, width), largest first.

    `kinds` are logits [classes, h, w]; the class of a defect is that with the largest sum over it.
    Connected components with eight neighbours.
    """
    marked = (heat >= level).astype(np.uint8)
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(marked, connectivity=8)
    scale = np.array([size[1] / heat.shape[1], size[0] / heat.shape[0]])
    found = []
    for index in range(1, count):
        inside = labels == index
        left, top, width, height = (int(value) for value in stats[index, :4])
        (box_x, box_y), (box_w, box_h) = (left, top) * scale, (width, height) * scale
        centre = (centroids[index] + 0.5) / (heat.shape[1], heat.shape[0])
        found.append(
            FoundDefect(
                kind=_kind(kinds, inside, classes),
                box=(round(box_x), round(box_y), round(box_w), round(box_h)),
                centre=(float(centre[0]), float(centre[1])),
                length_px=_length(inside, scale),
                area_px=float(stats[index, cv2.CC_STAT_AREA] * scale[0] * scale[1]),
                peak=float(heat[inside].max()),
            )
        )
    return tuple(sorted(found, key=lambda defect: -defect.area_px))


def allowed(
    defects: tuple[FoundDefect, ...], acceptance: Acceptance, mm_per_pixel: float | None = None
) -> bool:
    """Whether limits allow all of `defects`; a defect that no limit speaks of is not allowed.

    Nor is one with a limit of its size where neither the station (`mm_per_pixel`) nor the bundle
    knows the scale.
    """
    scopes = [[d for d in defects if _covers(limit, d, acceptance)] for limit in acceptance.limits]
    covered = {id(defect) for scope in scopes for defect in scope}
    if any(id(defect) not in covered for defect in defects):
        return False
    scale = mm_per_pixel or acceptance.mm_per_pixel or math.inf
    return all(
        _within(limit, scope, scale) for limit, scope in zip(acceptance.limits, scopes, strict=True)
    )


def _within(limit: Limit, scope: list[FoundDefect], mm_per_pixel: float) -> bool:
    if limit.max_count is not None and len(scope) > limit.max_count:
        return False
    longest = max((d.length_px * mm_per_pixel for d in scope), default=0.0)
    if limit.max_length_mm is not None and longest > limit.max_length_mm * _ROUNDING:
        return False
    largest = max((d.area_px * mm_per_pixel**2 for d in scope), default=0.0)
    return limit.max_area_mm2 is None or largest <= limit.max_area_mm2 * _ROUNDING


def _covers(limit: Limit, defect: FoundDefect, acceptance: Acceptance) -> bool:
    if limit.kind not in (ANY, defect.kind):
        return False
    if limit.zone == ANY:
        return True
    zone = next(zone for zone in acceptance.zones if zone.name == limit.zone)
    return _inside(zone, defect.centre)


def _inside(zone: Zone, point: tuple[float, float]) -> bool:
    corners = np.array(zone.corners, np.float32).reshape(-1, 1, 2)
    return cv2.pointPolygonTest(corners, point, measureDist=False) >= 0


def _length(inside: NDArray[np.bool_], scale: NDArray[np.float64]) -> float:
    rows, columns = np.nonzero(inside)
    # Corners of cells, not their centres: a defect of one cell is as long as the cell.
    corners = [np.stack([columns + dx, rows + dy], 1) for dx in (0, 1) for dy in (0, 1)]
    points = (np.concatenate(corners) * scale).astype(np.float32)
    return float(max(cv2.minAreaRect(points)[1]))


def _kind(kinds: NDArray[np.float32] | None, inside: NDArray[np.bool_], classes: list[str]) -> str:
    if kinds is None:
        return classes[0] if len(classes) == 1 else ""
    return classes[int(kinds[:, inside].sum(axis=1).argmax())]
