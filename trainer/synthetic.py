"""Synthetic anomalies on good parts, so that a line can be learnt that has shown few defects or none.

After CutPaste (Li 2021), NSA (Schlueter 2022) and DRAEM (2021): patches from elsewhere, scratches,
spots and stains, blended in; where each lies is known, so they teach to locate as well. Marked
defects of the line are pasted onto good parts too.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.data.images import FIRST_KIND

Pixels = NDArray[np.uint8]
"""[height, width, channels] uint8."""
Marks = NDArray[np.uint8]
"""[height, width] uint8, as `trainer.data.images`."""

_LEAST_CHANGE = 8.0
"""Mean change in grey levels below which an anomaly could not be seen, and is made again."""
_TRIES = 4


def add_anomaly(
    image: Pixels, other: Pixels, mark: int, rng: np.random.Generator
) -> tuple[Pixels, Marks]:
    """`image` with one synthetic anomaly, and its marks; patches are taken from `other`."""
    makers = (_patch, _scratch, _spots, _stain)
    for _ in range(_TRIES):
        alpha, changed = makers[int(rng.integers(len(makers)))](image, other, rng)
        mixed = image + alpha[:, :, None] * (changed - image)
        result = np.asarray(np.clip(mixed, 0, 255), np.uint8)
        inside = alpha > 0.3
        change = np.abs(result.astype(np.int16) - image)[inside]
        if inside.any() and float(change.mean()) >= _LEAST_CHANGE:
            return result, np.where(inside, np.uint8(mark), np.uint8(0))
    return image, np.zeros(image.shape[:2], np.uint8)


def _blob(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """A soft-edged, irregular place, [h, w] float32 in [0, 1]: smooth noise within an ellipse."""
    height, width = shape[:2]
    side = min(height, width) * float(np.exp(rng.uniform(np.log(0.03), np.log(0.35))))
    axes = np.maximum(np.array([side, side * rng.uniform(0.3, 1)]) / 2, 2)
    mask = np.zeros((height, width), np.float32)
    centre = (int(rng.integers(width)), int(rng.integers(height)))
    cv2.ellipse(
        mask, centre, (int(axes[0]), int(axes[1])), float(rng.uniform(0, 180)), 0, 360, 1.0, -1
    )
    cells = max(4, int(max(height, width) / max(side, 8) * 3))
    noise = cv2.resize(rng.random((cells, cells), np.float32), (width, height),
                       interpolation=cv2.INTER_CUBIC)  # fmt: skip
    rough = mask * (noise > rng.uniform(0.2, 0.55))
    return np.asarray(cv2.GaussianBlur(rough.astype(np.float32), (0, 0), rng.uniform(0.5, 1.5)))


def _patch(
    image: Pixels, other: Pixels, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Another place of a good part, turned and lit otherwise."""
    moved = np.roll(other, [int(rng.integers(side)) for side in image.shape[:2]], (0, 1))
    turned = np.ascontiguousarray(moved[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])])
    return _blob(image.shape, rng), turned.astype(np.float32) * float(rng.uniform(0.6, 1.5))


def _stain(
    image: Pixels, _other: Pixels, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A place that is darker, brighter or blurred."""
    smooth = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(1, 4))).reshape(image.shape)
    base = smooth if rng.random() < 0.5 else image
    gain = float(rng.choice([rng.uniform(0.3, 0.85), rng.uniform(1.15, 1.9)]))
    return _blob(image.shape, rng), base.astype(np.float32) * gain


def _scratch(
    image: Pixels, _other: Pixels, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A thin, bent line."""
    height, width = image.shape[:2]
    steps = int(rng.integers(3, 12))
    length = min(height, width) * float(rng.uniform(0.05, 0.5)) / steps
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, steps))
    moves = np.stack([np.cos(angles), np.sin(angles)], 1) * length
    start = rng.uniform(0, 1, 2) * (width, height)
    points = np.rint(start + np.cumsum(moves, 0)).astype(np.int32)
    alpha = np.zeros((height, width), np.float32)
    cv2.polylines(alpha, [points], False, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA)
    return alpha, _levelled(image, rng)


def _spots(
    image: Pixels, _other: Pixels, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One to three small holes or grains."""
    alpha = np.zeros(image.shape[:2], np.float32)
    for _ in range(int(rng.integers(1, 4))):
        centre = (int(rng.integers(image.shape[1])), int(rng.integers(image.shape[0])))
        axes = (int(rng.integers(1, 7)), int(rng.integers(1, 7)))
        cv2.ellipse(alpha, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), 0.7)), _levelled(image, rng)


def _levelled(image: Pixels, rng: np.random.Generator) -> NDArray[np.float32]:
    """Much darker or much brighter."""
    level = image.astype(np.float32)
    return (
        level * rng.uniform(0.1, 0.6) if rng.random() < 0.6 else level * 0.5 + rng.uniform(90, 140)
    )


@dataclass(frozen=True, slots=True)
class Cutting:
    """A marked defect, cut out with a rim of what is around it."""

    pixels: Pixels
    marks: Marks
    sides: tuple[bool, bool, bool, bool]
    """Whether it touches the picture's top, bottom, left, right: there it stays."""


_RIM = 6
_LARGEST = 0.15
"""Share of a picture above which a defect is not carried to another."""


def cut_out(image: Pixels, marks: Marks) -> Cutting | None:
    """The marked defect of a picture; None where there is none, or it is too large to be moved."""
    defect = marks >= FIRST_KIND
    if not defect.any() or float(defect.mean()) > _LARGEST:
        return None
    height, width = marks.shape
    rows, columns = np.flatnonzero(defect.any(1)), np.flatnonzero(defect.any(0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    sides = (top <= _RIM, bottom >= height - _RIM, left <= _RIM, right >= width - _RIM)
    top, left = max(0, top - _RIM), max(0, left - _RIM)
    bottom, right = min(height, bottom + _RIM), min(width, right + _RIM)
    return Cutting(image[top:bottom, left:right], marks[top:bottom, left:right], sides)


def paste(image: Pixels, cutting: Cutting, rng: np.random.Generator) -> tuple[Pixels, Marks]:
    """`image` (good) with the defect at another place, as bright against its surroundings as it was."""
    piece, marks = _turned(cutting, rng)
    height, width = marks.shape
    top, left = _place(image.shape[:2], (height, width), cutting.sides, rng)
    target = image[top : top + height, left : left + width].astype(np.float32)
    around = piece[marks == 0]
    level = max(float(np.median(around if around.size else piece)), 1.0)
    alpha = cv2.GaussianBlur((marks >= FIRST_KIND).astype(np.float32), (0, 0), 1.5)
    alpha = np.clip(alpha * 1.6, 0, 1)[:, :, None]
    lit = piece.astype(np.float32) * (float(np.median(target)) / level)
    result, result_marks = image.copy(), np.zeros(image.shape[:2], np.uint8)
    mixed = target * (1 - alpha) + lit * alpha
    result[top : top + height, left : left + width] = np.clip(mixed, 0, 255)
    result_marks[top : top + height, left : left + width] = marks
    return result, result_marks


def _turned(cutting: Cutting, rng: np.random.Generator) -> tuple[Pixels, Marks]:
    """Mirrored at random, but where it touches a side of the picture."""
    top, bottom, left, right = cutting.sides
    rows = -1 if not (top or bottom) and rng.random() < 0.5 else 1
    columns = -1 if not (left or right) and rng.random() < 0.5 else 1
    return cutting.pixels[::rows, ::columns], cutting.marks[::rows, ::columns]


def _place(
    size: tuple[int, ...],
    piece: tuple[int, int],
    sides: tuple[bool, bool, bool, bool],
    rng: np.random.Generator,
) -> tuple[int, int]:
    corner = []
    for room, at_start, at_end in (
        (size[0] - piece[0], sides[0], sides[1]),
        (size[1] - piece[1], sides[2], sides[3]),
    ):
        anywhere = int(rng.integers(0, max(room, 0) + 1))
        corner.append(0 if at_start else max(room, 0) if at_end else anywhere)
    return corner[0], corner[1]
