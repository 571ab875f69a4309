"""Defects: a painter changes the image in place and returns exactly the pixels it changed."""

import math
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hil.render.bank import LIGHT_ANGLE, RING_R
from hil.render.spec import DEFECT_KINDS, Defect, DefectKind, Image, Mask

Points = NDArray[np.float64]  # [N, 2], x and y in pixels
KIND_SHARES: Final = (0.30, 0.20, 0.15, 0.15, 0.20)  # in the order of DEFECT_KINDS
SUBTLE_SHARE: Final = 0.15
RUST: Final = np.array([158.0, 84.0, 34.0], np.float32)
EDGE: Final = 40  # coverage (0..255) from which a pixel belongs to a scratch


def pick_kinds(rng: np.random.Generator) -> tuple[DefectKind, ...]:
    """One defect in most cases, two in a fifth."""
    count = 2 if rng.random() < 0.2 else 1
    return tuple(DEFECT_KINDS[i] for i in rng.choice(len(DEFECT_KINDS), count, p=KIND_SHARES))


def paint(image: Image, kind: DefectKind, rng: np.random.Generator) -> tuple[Defect, Mask]:
    """Paint one defect into `image` (uint8 [H, W, 3], changed in place).

    Returns the defect and its mask, uint8 [H, W] 0/255: no pixel outside of it has changed.
    """
    strength = rng.uniform(0.38, 0.50) if rng.random() < SUBTLE_SHARE else rng.uniform(0.65, 1.0)
    mask = PAINTERS[kind](image, float(strength), rng)
    x, y, width, height = cv2.boundingRect(mask)
    return Defect(kind, (x, y, width, height), int(np.count_nonzero(mask))), mask


def _spot(size: int, rng: np.random.Generator, reach: float) -> tuple[float, float]:
    """A point of the case, evenly over the disc of radius `reach` (share of the side)."""
    at, r = rng.uniform(0, 2 * np.pi), reach * math.sqrt(rng.uniform(0, 1)) * size
    return size / 2 + r * math.cos(at), size / 2 + r * math.sin(at)


def _on_case(size: int) -> Mask:
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, (size // 2, size // 2), round(RING_R * size), 255, -1)
    return mask


def _stroke(
    layer: Mask, points: Points, width: int, move: tuple[float, float] = (0.0, 0.0)
) -> None:
    line = np.rint((points + np.array(move)) * 16).astype(np.int32)
    cv2.polylines(layer, [line], False, 255, width, cv2.LINE_AA, 4)


def _curve(
    start: tuple[float, float], at: float, length: float, bend: float, n: int = 12
) -> Points:
    """A quadratic Bezier curve of `length` pixels from the middle `start` along `at`."""
    along = np.array([math.cos(at), math.sin(at)])
    across = np.array([-along[1], along[0]])
    middle = np.array(start)
    t = np.linspace(0, 1, n)[:, None]
    first, last = middle - along * length / 2, middle + along * length / 2
    control = middle + across * bend * length
    return np.asarray((1 - t) ** 2 * first + 2 * t * (1 - t) * control + t**2 * last)


def _apply_scratch(
    image: Image, dark: Mask, bright: Mask, dark_by: float, bright_by: float
) -> Mask:
    case = _on_case(image.shape[0])
    covered = np.where(np.maximum(dark, bright) >= EDGE, case, 0)
    mask = np.asarray(covered, dtype=np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    box = (slice(y, y + height), slice(x, x + width))
    cut = dark[box].astype(np.float32) / 255
    lift = bright[box].astype(np.float32) * (1 - cut) * (bright_by / 255) - cut * dark_by
    lift[mask[box] == 0] = 0
    changed = np.clip(image[box].astype(np.float32) + lift[..., None], 0, 255)
    image[box] = np.rint(changed).astype(np.uint8)
    return mask


def _lip(scale: float) -> tuple[float, float]:
    """The raised edge lies on the side away from the lamp."""
    return -1.1 * scale * math.cos(LIGHT_ANGLE), -1.1 * scale * math.sin(LIGHT_ANGLE)


def _scratch_fine(image: Image, strength: float, rng: np.random.Generator) -> Mask:
    size = image.shape[0]
    scale = size / 256
    length = rng.uniform(55, 130) * scale
    points = _curve(
        _spot(size, rng, 0.24),
        rng.uniform(0, np.pi),
        length,
        rng.uniform(-0.12, 0.12),
        14,
    )
    points[1:-1] += rng.normal(0, 0.6 * scale, (12, 2))
    width = max(1, round(1.3 * scale))
    dark, bright = np.zeros((2, size, size), np.uint8)
    _stroke(dark, points, width)
    _stroke(bright, points, width, _lip(scale))
    return _apply_scratch(image, dark, bright, 120 * strength, 85 * strength)


def _scratch_deep(image: Image, strength: float, rng: np.random.Generator) -> Mask:
    size = image.shape[0]
    scale = size / 256
    length, bend = (
        rng.uniform(45, 110) * scale,
        rng.uniform(0.15, 0.45) * rng.choice((-1, 1)),
    )
    points = _curve(_spot(size, rng, 0.26), rng.uniform(0, np.pi), length, float(bend))
    core = max(2, round(rng.uniform(2.2, 3.4) * scale))
    dark, bright = np.zeros((2, size, size), np.uint8)
    _stroke(dark, points, core)
    move = _lip(scale)
    _stroke(bright, points, max(1, core - 1), (2 * move[0], 2 * move[1]))
    return _apply_scratch(image, dark, bright, 120 * strength, 80 * strength)


def _scratch_cluster(image: Image, strength: float, rng: np.random.Generator) -> Mask:
    size = image.shape[0]
    scale = size / 256
    x, y = _spot(size, rng, 0.28)
    at, spread = rng.uniform(0, np.pi), 17 * scale
    dark, bright = np.zeros((2, size, size), np.uint8)
    for _ in range(int(rng.integers(5, 10))):
        start = (x + rng.uniform(-spread, spread), y + rng.uniform(-spread, spread))
        points = _curve(start, at + rng.normal(0, 0.25), rng.uniform(11, 27) * scale, 0.05, 6)
        _stroke(dark, points, max(1, round(1.2 * scale)))
        _stroke(bright, points, max(1, round(1.2 * scale)), _lip(scale))
    return _apply_scratch(image, dark, bright, 120 * strength, 85 * strength)


def _local(size: int, centre: tuple[float, float], reach: float) -> tuple[NDArray[np.float32], ...]:
    """The rows, columns (as a box) and offsets x, y in pixels round a place on the case."""
    low = [max(0, math.floor(c - reach)) for c in centre]
    high = [min(size, math.ceil(c + reach) + 1) for c in centre]
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    return x, y


def _dent(image: Image, strength: float, rng: np.random.Generator) -> Mask:
    """A bump h = (1 - q^2)^2 over an ellipse, shaded by its slope towards the lamp."""
    size = image.shape[0]
    centre, reach = _spot(size, rng, 0.33), rng.uniform(10, 19) * size / 256
    x, y = _local(size, centre, reach)
    u, v = (x - centre[0]) / reach, (y - centre[1]) / (reach * rng.uniform(0.7, 1.0))
    q2 = u * u + v * v
    slope = 4 * (1 - q2) * (u * math.cos(LIGHT_ANGLE) + v * math.sin(LIGHT_ANGLE))
    inside = q2 < 0.88
    lift = np.where(inside, -64 * strength * slope - 14 * strength * (1 - q2), 0)
    box = _box_of(x, y)
    image[box] = np.rint(np.clip(image[box] + lift[..., None], 0, 255)).astype(np.uint8)
    return _whole(size, box, inside)


def _stain(image: Image, strength: float, rng: np.random.Generator) -> Mask:
    """A rust-coloured blotch: its border is a circle pulled about by a few waves."""
    size = image.shape[0]
    centre, reach = _spot(size, rng, 0.31), rng.uniform(9, 20) * size / 256
    x, y = _local(size, centre, 1.5 * reach)
    dx, dy = x - centre[0], (y - centre[1]) * rng.uniform(0.8, 1.25)
    at = np.arctan2(dy, dx)
    border = np.ones_like(at)
    for wave in (2, 3, 5, 8):
        border += rng.uniform(0.05, 0.30) / wave**0.5 * np.cos(wave * at + rng.uniform(0, 6.3))
    depth = np.clip((border * reach * 0.9 - np.hypot(dx, dy)) / (0.3 * reach), 0, 1)
    speckle = cv2.GaussianBlur(rng.standard_normal(x.shape, dtype=np.float32), (0, 0), 1.4)
    alpha = depth * np.clip(0.80 + 0.5 * np.asarray(speckle), 0.35, 1.0) * (0.35 + 0.5 * strength)
    box = _box_of(x, y)
    inside = alpha >= 0.10
    alpha = np.where(inside, alpha, 0)[..., None]
    field = image[box].astype(np.float32)
    # Rust covers but does not hide the metal: some of its brightness shows through.
    rust = RUST * (0.55 + 0.45 * field.mean(axis=-1, keepdims=True) / 158)
    image[box] = np.rint(np.clip(field + alpha * (rust - field), 0, 255)).astype(np.uint8)
    return _whole(size, box, inside)


def _box_of(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[slice, slice]:
    top, left = int(y[0, 0]), int(x[0, 0])
    return slice(top, top + x.shape[0]), slice(left, left + x.shape[1])


def _whole(size: int, box: tuple[slice, slice], inside: NDArray[np.bool_]) -> Mask:
    mask = np.zeros((size, size), np.uint8)
    mask[box] = np.where(inside, 255, 0)
    return mask


PAINTERS: Final[dict[DefectKind, Callable[[Image, float, np.random.Generator], Mask]]] = {
    "scratch_fine": _scratch_fine,
    "scratch_deep": _scratch_deep,
    "scratch_cluster": _scratch_cluster,
    "dent": _dent,
    "stain": _stain,
}
