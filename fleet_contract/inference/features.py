"""Image features of a frame, for statistics windows and for the reference of a bundle.

Sharpness is the variance of the Laplacian over the squared mean, and noise is over the mean: both
stay where they are when only the light changes, so that light and focus can be told apart.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.inference.preprocess import Frame
from fleet_contract.windows import THUMBNAIL_SIDE

_WORK_SIDE = 256
"""Frames are strided down to about this side first: cheap, and enough for statistics."""


@dataclass(frozen=True, slots=True)
class FrameStatistics:
    """Features of one frame, by the names of `windows.FEATURES`, and its thumbnail."""

    values: dict[str, float]
    thumbnail: NDArray[np.int64]
    """[64] int64: cells of an 8x8 picture over their mean, in 1/1000."""
    grey: NDArray[np.float32]
    """[h, w] float32, the reduced grey picture that shifts are measured against."""


def frame_statistics(frame: Frame, reference: NDArray[np.float32] | None) -> FrameStatistics:
    """Features of `frame` (RGB or grey).

    `reference` is the `grey` of an earlier frame of the same shape; shifts are NaN without one.
    """
    step = max(1, min(frame.shape[:2]) // _WORK_SIDE)
    small = _eight_bits(np.ascontiguousarray(frame[::step, ::step]))
    grey_u8 = small if small.ndim == 2 else np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
    grey = grey_u8.astype(np.float32)
    values = {**_levels(grey_u8), **_texture(grey), **_colour(small), **_shift(grey, reference)}
    return FrameStatistics(values, _thumbnail(grey), grey)


def _eight_bits(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """The upper eight bits of a frame of 16."""
    return np.asarray(frame >> 8 if frame.dtype == np.uint16 else frame, np.uint8)


def _levels(grey: NDArray[np.generic]) -> dict[str, float]:
    counts = np.bincount(grey.reshape(-1), minlength=256).astype(np.float64)
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
    level = max(float(grey.mean()), 1.0)
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)
    gx = cv2.Sobel(grey, cv2.CV_32F, 1, 0)
    gy = cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    # Immerkaer 1996: a mask that is blind to edges' first order leaves the noise.
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    residue = np.abs(cv2.filter2D(grey, cv2.CV_32F, mask)).mean()
    return {
        "sharpness": float(laplacian.var() / level**2),
        "noise": float(residue * np.sqrt(np.pi / 2) / 6 / level * 100),
        "edges": float((cv2.magnitude(gx, gy) > 0.5 * level).mean()),
    }


def _colour(small: NDArray[np.uint8]) -> dict[str, float]:
    if small.ndim == 2:
        return {"rg": 1.0, "bg": 1.0, "saturation": 0.0}
    red, green, blue = (float(x) for x in cv2.mean(small)[:3])
    high = cv2.max(cv2.max(small[:, :, 0], small[:, :, 1]), small[:, :, 2])
    low = cv2.min(cv2.min(small[:, :, 0], small[:, :, 1]), small[:, :, 2])
    spread = cv2.mean(cv2.subtract(high, low))[0]
    green = max(green, 1.0)
    return {"rg": max(red, 1.0) / green, "bg": max(blue, 1.0) / green, "saturation": spread}


def _shift(grey: NDArray[np.float32], reference: NDArray[np.float32] | None) -> dict[str, float]:
    if reference is None or reference.shape != grey.shape:
        return {"shift_x": np.nan, "shift_y": np.nan, "shift_response": np.nan}
    window = cv2.createHanningWindow((grey.shape[1], grey.shape[0]), cv2.CV_32F)
    # OpenCV 5 applies the window to its arguments in place.
    (dx, dy), response = cv2.phaseCorrelate(reference.copy(), grey.copy(), window)
    return {"shift_x": float(dx), "shift_y": float(dy), "shift_response": float(response)}


def _thumbnail(grey: NDArray[np.float32]) -> NDArray[np.int64]:
    cells = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    level = max(float(cells.mean()), 1e-3)
    return np.asarray(np.rint(cells.reshape(-1) / level * 1000), np.int64)
