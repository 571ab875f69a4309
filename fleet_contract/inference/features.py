"""Image features of a frame, for statistics windows and for the reference of a bundle.

Sharpness is the variance of the Laplacian over the squared mean, and noise is over the mean: both
stay where they are when only the light changes, so that light and focus can be told apart.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.inference.preprocess import Frame
from fleet_contract.windows import THUMBNAIL_SIDE

_WORK_SIDE, _SHIFT_SIDE = 256, 128
"""Frames are strided down to about this side first, and averaged to the other one where they are
compared as a whole: cheap, and enough for statistics."""
_FLAT = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""Blind to edges' first order, so that it leaves the noise (Immerkaer 1996)."""


@dataclass(frozen=True, slots=True)
class FrameStatistics:
    """Features of one frame, by the names of `windows.FEATURES`, and its thumbnail."""

    values: dict[str, float]
    thumbnail: NDArray[np.int64]
    """[64] int64: cells of an 8x8 picture over their mean, in 1/1000."""
    grey: NDArray[np.float32]
    """[h, w] float32, the reduced grey picture that shifts are measured against."""


@dataclass(frozen=True, slots=True)
class _Reduced:
    """A frame, as far as statistics need it."""

    colour: NDArray[np.uint8]
    """[h, w] or [h, w, 3]"""
    grey: NDArray[np.uint8]
    """[h, w]"""
    coarse: NDArray[np.float32]
    """[h / factor, w / factor]"""
    factor: int


def frame_statistics(frame: Frame, reference: NDArray[np.float32] | None) -> FrameStatistics:
    """Features of `frame` (RGB or grey).

    `reference` is the `grey` of an earlier frame of the same shape; shifts, in pixels of the picture
    with a side of about 256, are NaN without one.
    """
    reduced = _reduce(frame)
    values = {
        **_levels(reduced.grey), **_texture(reduced.grey.astype(np.float32)),
        **_colour(reduced.colour), **_shift(reduced, reference),
    }  # fmt: skip
    return FrameStatistics(values, _thumbnail(reduced.coarse), reduced.coarse)


def _reduce(frame: Frame) -> _Reduced:
    height, width = frame.shape[:2]
    step = max(1, min(height, width) // _WORK_SIDE)
    size = (-(-width // step), -(-height // step))
    small = _eight_bits(np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_NEAREST)))
    grey = (
        small if small.ndim == 2 else np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
    )
    factor = max(1, min(size) // _SHIFT_SIDE)
    coarse = cv2.resize(
        grey.astype(np.float32),
        (size[0] // factor, size[1] // factor),
        interpolation=cv2.INTER_AREA,
    )
    return _Reduced(small, grey, np.asarray(coarse, np.float32), factor)


def _eight_bits(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """The upper eight bits of a frame of 16."""
    return np.asarray(frame >> 8 if frame.dtype == np.uint16 else frame, np.uint8)


def _levels(grey: NDArray[np.uint8]) -> dict[str, float]:
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).reshape(-1).astype(np.float64)
    share = counts / counts.sum()
    levels = np.arange(256)
    mean = float(share @ levels)
    cumulative = np.cumsum(share)
    filled = share[share > 0]
    return {
        "mean": mean,
        "std": float(np.sqrt(max(share @ (levels - mean) ** 2, 0.0))),
        "p01": float(np.searchsorted(cumulative, 0.01)),
        "p99": float(np.searchsorted(cumulative, 0.99)),
        "clip_low": float(share[0]),
        "clip_high": float(share[255]),
        "entropy": float(-(filled @ np.log2(filled))),
    }


def _texture(grey: NDArray[np.float32]) -> dict[str, float]:
    level = max(cv2.mean(grey)[0], 1.0)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))
    gx = cv2.Sobel(grey, cv2.CV_32F, 1, 0)
    gy = cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    _, steep = cv2.threshold(cv2.magnitude(gx, gy), 0.5 * level, 1.0, cv2.THRESH_BINARY)
    residue = cv2.norm(cv2.filter2D(grey, cv2.CV_32F, _FLAT), cv2.NORM_L1) / grey.size
    return {
        "sharpness": float(deviation[0, 0]) ** 2 / level**2,
        "noise": float(residue * np.sqrt(np.pi / 2) / 6 / level * 100),
        "edges": cv2.countNonZero(steep) / grey.size,
    }


def _colour(small: NDArray[np.uint8]) -> dict[str, float]:
    if small.ndim == 2:
        return {"rg": 1.0, "bg": 1.0, "saturation": 0.0}
    red, green, blue = (float(x) for x in cv2.mean(small)[:3])
    planes = cv2.split(small)
    high, low = reduce(cv2.max, planes), reduce(cv2.min, planes)
    spread = cv2.mean(cv2.subtract(high, low))[0]
    green = max(green, 1.0)
    return {"rg": max(red, 1.0) / green, "bg": max(blue, 1.0) / green, "saturation": spread}


def _shift(reduced: _Reduced, reference: NDArray[np.float32] | None) -> dict[str, float]:
    coarse, factor = reduced.coarse, reduced.factor
    if reference is None or reference.shape != coarse.shape:
        return {"shift_x": np.nan, "shift_y": np.nan, "shift_response": np.nan}
    window = cv2.createHanningWindow((coarse.shape[1], coarse.shape[0]), cv2.CV_32F)
    # OpenCV 5 applies the window to its arguments in place.
    (dx, dy), response = cv2.phaseCorrelate(reference.copy(), coarse.copy(), window)
    return {"shift_x": dx * factor, "shift_y": dy * factor, "shift_response": float(response)}


def _thumbnail(coarse: NDArray[np.float32]) -> NDArray[np.int64]:
    cells = cv2.resize(coarse, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    level = max(float(cells.mean()), 1e-3)
    return np.asarray(np.rint(cells.reshape(-1) / level * 1000), np.int64)
