"""What all parts of one image size share, computed once: geometry, brushing, engraving, fixture."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from hil.render.spec import Image, Plane

# Radii as shares of the image side, from the centre outwards.
CENTRE_R: Final = 0.335
RING_R: Final = 0.432
BEVEL_R: Final = 0.474
LIGHT_ANGLE: Final = math.radians(-125.0)  # where the lamp stands: upper left
MARGIN: Final = 1.5  # textures are larger than the image, so that they can be turned and moved
RING_TEXT: Final = (
    "LOUPE  WATCH  COMPANY   *   SAPPHIRE  CRYSTAL   *   WATER  RESISTANT  10  BAR   *   "
)
VARIANTS: Final = 4


@dataclass(frozen=True)
class Bank:
    """Planes are float32 [H, W]; textures are [MARGIN * H, MARGIN * W], mean 0, deviation 1."""

    size: int
    radius: Plane  # share of the side
    angle: Plane  # radians, clockwise from the right
    disc: Plane  # 1 on the case, 0 on the fixture
    centre: Plane  # 1 within the centre field
    shade_turned: Plane  # luminance of a case with a turned centre, 0..1
    shade_straight: Plane  # luminance of a case with a straight-brushed centre, 0..1
    linear: tuple[Plane, ...]
    circular: tuple[Plane, ...]
    cloud: Plane
    engraving: Image  # coverage uint8 [H, W], upright
    fixture: Plane  # float32 [H, W, 3], 0..255, already dark below the case


@lru_cache(maxsize=4)
def bank_for(size: int) -> Bank:
    """The bank of one image size; the same on every machine."""
    rng = np.random.default_rng([20, size])
    radius, angle = _polar(size, 1.0)
    disc = _step(BEVEL_R - radius, size)
    centre = _step(CENTRE_R - radius, size)
    return Bank(
        size=size,
        radius=radius,
        angle=angle,
        disc=disc,
        centre=centre,
        shade_turned=_shade(radius, angle, size, turned=True),
        shade_straight=_shade(radius, angle, size, turned=False),
        linear=tuple(_linear(size, rng) for _ in range(VARIANTS)),
        circular=tuple(_circular(size, rng) for _ in range(VARIANTS)),
        cloud=_cloud(size, rng),
        engraving=_engraving(radius, angle, size),
        fixture=_fixture(radius, disc, size, rng),
    )


def _polar(size: int, margin: float) -> tuple[Plane, Plane]:
    side = round(size * margin)
    axis = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / size
    x, y = np.meshgrid(axis, axis)
    return np.hypot(x, y).astype(np.float32), np.arctan2(y, x).astype(np.float32)


def _step(distance: Plane, size: int) -> Plane:
    """An edge of one pixel: 0 outside, 1 inside."""
    return np.asarray(np.clip(distance * size + 0.5, 0.0, 1.0), dtype=np.float32)


def _band(radius: Plane, at: float, width: float) -> Plane:
    """A soft ring line, 1 on its middle."""
    return np.asarray(np.exp(-(((radius - at) / width) ** 2)), dtype=np.float32)


def _shade(radius: Plane, angle: Plane, size: int, *, turned: bool) -> Plane:
    facing = np.cos(angle - LIGHT_ANGLE)
    centre = _step(CENTRE_R - radius, size)
    bevel = _step(radius - RING_R, size)
    lobes = np.cos(2 * (angle - LIGHT_ANGLE))  # turned metal shines in two opposite sectors
    fade = np.minimum(radius / 0.12, 1.0)
    straight = 0.625 + 0.170 * radius * facing
    field = 0.620 + 0.070 * lobes * fade if turned else straight
    ring = 0.600 + 0.085 * lobes
    slope = 0.560 + 0.240 * facing
    shade = centre * field + (1 - centre) * ((1 - bevel) * ring + bevel * slope)
    line = 0.0042
    for at, depth in ((CENTRE_R, 0.26), (CENTRE_R + 0.012, 0.14), (RING_R, 0.24)):
        groove = _band(radius, at, line) - 0.8 * _band(radius, at + 0.008, line) * (0.5 - facing)
        shade = shade - depth * groove
    return np.asarray(shade, dtype=np.float32)


def _normal(plane: Plane) -> Plane:
    return np.asarray((plane - plane.mean()) / plane.std(), dtype=np.float32)


def _linear(size: int, rng: np.random.Generator) -> Plane:
    side = round(size * MARGIN)
    noise = rng.standard_normal((side, side), dtype=np.float32)
    long = cv2.blur(noise, (size // 3, 1))
    short = cv2.blur(noise, (size // 16, 1))
    return _normal(_normal(np.asarray(long)) + 0.5 * _normal(np.asarray(short)))


def _circular(size: int, rng: np.random.Generator) -> Plane:
    """Streaks along the angle, as a lathe leaves them: noise over (angle, radius), bent round."""
    radius, angle = _polar(size, MARGIN)
    rows, columns = size, 6 * size
    noise = rng.standard_normal((rows, columns), dtype=np.float32)
    wrapped = np.concatenate([noise, noise, noise], axis=1)
    blurred = np.asarray(cv2.blur(wrapped, (size, 1)), dtype=np.float32)
    strip = _normal(blurred[:, columns : 2 * columns])
    map_x = ((angle / (2 * np.pi) + 0.5) * (columns - 1)).astype(np.float32)
    map_y = np.minimum(radius * rows, rows - 1).astype(np.float32)
    return _normal(np.asarray(cv2.remap(strip, map_x, map_y, cv2.INTER_LINEAR)))


def _cloud(size: int, rng: np.random.Generator) -> Plane:
    side = round(size * MARGIN)
    coarse = rng.standard_normal((7, 7), dtype=np.float32)
    return _normal(np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)))


def _engraving(radius: Plane, angle: Plane, size: int) -> Image:
    coverage = np.maximum(_ring_text(radius, angle, size), _logo(size))
    notch = _step(radius - (RING_R + 0.014), size) * _step(BEVEL_R - 0.006 - radius, size)
    for k in range(6):
        turn = np.angle(np.exp(1j * (angle - k * np.pi / 3)))
        slot = notch * _step((0.055 - np.abs(turn).astype(np.float32)) * radius, size)
        coverage = np.maximum(coverage, slot)
    return np.asarray(np.rint(coverage * 255), dtype=np.uint8)


def _ring_text(radius: Plane, angle: Plane, size: int) -> Plane:
    """The text along the ring: written on a straight strip of twice the size, then bent round."""
    middle, height = (CENTRE_R + 0.012 + RING_R) / 2, 0.058
    columns, rows = round(4 * np.pi * middle * size), round(2 * height * size)
    font, thick = cv2.FONT_HERSHEY_DUPLEX, max(1, round(size / 128))
    widths = [cv2.getTextSize(letter, font, 1.0, 1)[0][0] for letter in RING_TEXT]
    tall = cv2.getTextSize(RING_TEXT, font, 1.0, 1)[0][1]
    scale = min(columns / sum(widths), rows * 0.66 / tall)
    strip = np.zeros((rows, columns), np.uint8)
    gap = (columns - sum(widths) * scale) / len(RING_TEXT)
    x = 0.0
    for letter, width in zip(RING_TEXT, widths, strict=True):
        place = (round(x), round(rows * 0.5 + tall * scale / 2))
        cv2.putText(strip, letter, place, font, scale, 255, thick, cv2.LINE_AA)
        x += width * scale + gap
    map_x = ((angle / (2 * np.pi) + 0.5) * (columns - 1)).astype(np.float32)
    map_y = ((middle + height / 2 - radius) * 2 * size).astype(np.float32)
    bent = cv2.remap(strip, map_x, map_y, cv2.INTER_LINEAR, borderValue=0)
    return np.asarray(bent, dtype=np.float32) / np.float32(255)


def _logo(size: int) -> Plane:
    """A magnifying glass with an L in it, drawn four times as large and reduced."""
    big = np.zeros((4 * size, 4 * size), np.uint8)
    unit = 4 * size / 256
    cx, cy = 2 * size, round(2 * size - 14 * unit)
    ring, line = round(23 * unit), round(2.4 * unit)
    cv2.circle(big, (cx, cy), ring, 255, line, cv2.LINE_AA)
    reach = ring * 0.707
    start = (round(cx + reach), round(cy + reach))
    end = (round(cx + reach + 14 * unit), round(cy + reach + 14 * unit))
    cv2.line(big, start, end, 255, round(4.5 * unit), cv2.LINE_AA)
    corners = [(-6, -12), (-6, 11), (8, 11)]
    letter = np.array([(cx + x * unit, cy + y * unit) for x, y in corners], np.int32)
    cv2.polylines(big, [letter], False, 255, round(3 * unit), cv2.LINE_AA)
    small = cv2.resize(big, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def _fixture(radius: Plane, disc: Plane, size: int, rng: np.random.Generator) -> Plane:
    """The dark holder: matt, a shadow round the case, four screws in the corners."""
    grain = cv2.GaussianBlur(rng.standard_normal((size, size), dtype=np.float32), (0, 0), 0.8)
    glow = np.clip((radius - BEVEL_R) / 0.06, 0.25, 1.0)
    grey = 37.0 * glow + 2.5 * np.asarray(grain)
    screws = np.zeros((size, size), np.uint8)
    for x in (0.07, 0.93):
        for y in (0.07, 0.93):
            place, r = (round(x * size), round(y * size)), round(0.03 * size)
            cv2.circle(screws, place, r, 60, -1, cv2.LINE_AA)
            cv2.line(
                screws,
                (place[0] - r + 2, place[1]),
                (place[0] + r - 2, place[1]),
                15,
                2,
            )
    grey = np.maximum(grey, screws) * (1 - disc)
    tinted = np.stack([grey * 0.96, grey * 0.99, grey * 1.05], axis=-1)
    return np.asarray(np.clip(tinted, 0, 255), dtype=np.float32)
