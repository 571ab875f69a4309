"""How large a pixel is: from one picture of a board whose pitch is known, lying where parts lie.

A homography from the picture to the board's plane is fitted to all of its points (Hartley and
Zisserman, Multiple View Geometry, section 4.1); its Jacobian says what a pixel is at each of them.
One number stands for the whole picture only if the board lies in parallel to the sensor: one that is
tilted is shorter one way than the other, and larger near than far.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import decode_image

_MOST_STRETCH, _MOST_SPREAD, _MOST_RESIDUAL = 0.01, 0.02, 0.02
"""Of the length, of the scale, of the pitch. One percent of stretch is a tilt of eight degrees."""
_NOISE_PX = 0.3
"""Points are found no better than this in a poor picture."""
_LEAST = 3
"""Points a side; fewer say nothing of tilt."""

Points = NDArray[np.float64]
"""[rows, columns, 2]: (x, y) in pixels of a board's points, neighbours beside each other."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a picture of a board says."""

    mm_per_pixel: float
    """Mean over the board."""
    spread: float
    """From the finest to the coarsest place of the board, over the mean."""
    stretch: float
    """By how much a pixel is longer one way than across it, over its length."""
    residual_px: float
    """Root mean square distance of the points from a plane board's."""
    pitch_px: float
    columns: int
    rows: int
    covers: float
    """Share of the picture that the board covers."""


def calibrate(path: Path, pitch_mm: float, dots: tuple[int, int] | None = None) -> Calibration:
    """From a picture of a chessboard, or of a grid of `dots` (columns, rows).

    Raises DataError for a picture without a board, and for a board that is tilted too much.
    """
    try:
        image = decode_image(path.read_bytes(), 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    points = _chessboard(image) if dots is None else _dots(image, dots)
    if points is None:
        raise DataError(
            f"no board is found in {path}",
            expected="a chessboard" if dots is None else f"{dots[0]}x{dots[1]} dark dots",
            remedy="The whole board with its bright rim must be sharp, evenly lit and in the picture.",
        )
    return checked(measure(points, pitch_mm, image.shape))


def measure(points: Points, pitch_mm: float, size: tuple[int, ...]) -> Calibration:
    """Of a board in a picture of `size` (height, width), unchecked."""
    rows, columns = points.shape[:2]
    ideal = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1) * pitch_mm
    flat = points.reshape(-1, 2)
    plane, _ = cv2.findHomography(flat, ideal.reshape(-1, 2))
    jacobians = np.stack([_jacobian(plane, point) for point in flat])
    scales = np.sqrt(np.abs(np.linalg.det(jacobians)))
    sides = np.linalg.svd(jacobians.mean(axis=0), compute_uv=False)
    back = cv2.perspectiveTransform(ideal.reshape(-1, 1, 2).astype(float), np.linalg.inv(plane))
    corners = points[[0, 0, -1, -1], [0, -1, -1, 0]].astype(np.float32)
    return Calibration(
        mm_per_pixel=float(scales.mean()),
        spread=float((scales.max() - scales.min()) / scales.mean()),
        stretch=float(1 - sides[1] / sides[0]),
        residual_px=float(np.sqrt(np.square(back.reshape(-1, 2) - flat).sum(axis=1).mean())),
        pitch_px=float(pitch_mm / scales.mean()),
        columns=columns,
        rows=rows,
        covers=float(cv2.contourArea(corners) / (size[0] * size[1])),
    )


def _jacobian(plane: NDArray[Any], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """[2, 2]: millimetres by pixels, at a pixel."""
    x, y, w = plane @ np.array([*point, 1.0])
    return np.asarray((plane[:2, :2] - np.outer([x / w, y / w], plane[2, :2])) / w, np.float64)


def checked(found: Calibration) -> Calibration:
    """The same. Raises DataError where one number cannot stand for the whole picture."""
    if found.residual_px > max(_MOST_RESIDUAL * found.pitch_px, _NOISE_PX):
        raise DataError(
            "the board's points do not lie on a plane grid", found=f"{found.residual_px:.1f} px off",
            remedy="Is the board bent, or the lens a wide one? Use a stiff board and another lens.",
        )  # fmt: skip
    if found.stretch > _MOST_STRETCH or found.spread > _MOST_SPREAD:
        degrees = math.degrees(math.acos(1 - found.stretch))
        raise DataError(
            "the board is tilted against the camera's sensor",
            expected=f"at most {_MOST_STRETCH:.0%} of stretch and {_MOST_SPREAD:.0%} of spread",
            found=f"{found.stretch:.1%} and {found.spread:.1%}, a tilt of about {degrees:.0f} degrees",
            remedy="Lay it flat where parts lie, and set the camera upright over it.",
        )
    return found


def _chessboard(image: NDArray[Any]) -> Points | None:
    """Inner corners of the largest board that is seen whole."""
    flags = cv2.CALIB_CB_LARGER | cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
    ok, corners, meta = cv2.findChessboardCornersSBWithMeta(image, (_LEAST, _LEAST), flags)
    if not ok:
        return None
    # Which side of the pattern comes first is not told: the wrong one makes no straight lines.
    sides = {meta.shape, meta.shape[::-1]}
    shaped = [np.asarray(corners, np.float64).reshape(*side, 2) for side in sides]
    return min(shaped, key=_bend)


def _bend(points: Points) -> float:
    return float(
        np.abs(np.diff(points, 2, axis=0)).sum() + np.abs(np.diff(points, 2, axis=1)).sum()
    )


def _dots(image: NDArray[Any], dots: tuple[int, int]) -> Points | None:
    ok, centres = cv2.findCirclesGrid(image, dots)
    return np.asarray(centres, np.float64).reshape(dots[1], dots[0], 2) if ok else None
