"""The good part: metal, engraving and the blue enamel mark that every part carries."""

import cv2
import numpy as np

from hil.render.bank import MARGIN, Bank
from hil.render.spec import Image, Plane

# Reflectance of the metal per channel (R, G, B) at luminance 1, in grey levels.
STEEL = np.array([272.0, 269.0, 264.0], np.float32)
ROSE_GOLD = np.array([298.0, 257.0, 231.0], np.float32)
ENAMEL = np.array([26.0, 62.0, 172.0], np.float32)


def draw_body(bank: Bank, number: int, rng: np.random.Generator) -> Image:
    """A part without defects: uint8 [H, W, 3] RGB under the default light."""
    luminance = _metal(bank, rng)
    luminance += _relief(bank, number, float(rng.uniform(-5.0, 5.0)))
    luminance *= bank.disc
    tone = _tone(rng)
    planes = [luminance * float(level) for level in tone]
    colour = np.asarray(cv2.add(cv2.merge(planes), bank.fixture))
    image = np.asarray(cv2.convertScaleAbs(np.maximum(colour, 0)), dtype=np.uint8)
    _enamel(image, rng)
    return image


def _tone(rng: np.random.Generator) -> Plane:
    warmth = rng.uniform(0.0, 0.25) if rng.random() < 0.6 else rng.uniform(0.75, 1.0)
    tone = STEEL + np.float32(warmth) * (ROSE_GOLD - STEEL)
    return np.asarray(tone * np.float32(rng.uniform(0.97, 1.03)), dtype=np.float32)


def _metal(bank: Bank, rng: np.random.Generator) -> Plane:
    turned = rng.random() < 0.5
    lathe = _placed(bank, bank.circular[rng.integers(len(bank.circular))], rng, 180.0, 0.0)
    if turned:
        streaks, shade = lathe, bank.shade_turned
    else:
        straight = _placed(bank, bank.linear[rng.integers(len(bank.linear))], rng, 6.0, 0.1)
        streaks, shade = lathe + bank.centre * (straight - lathe), bank.shade_straight
    cloud = _placed(bank, bank.cloud, rng, 180.0, 0.1)
    strength = float(rng.uniform(0.018, 0.030))
    return np.asarray(shade + strength * streaks + 0.012 * cloud, dtype=np.float32)


def _placed(
    bank: Bank, texture: Plane, rng: np.random.Generator, turn_deg: float, move: float
) -> Plane:
    """A texture turned by up to `turn_deg` and moved by up to `move` of the side, cut to size."""
    side = texture.shape[0]
    centre = (side - 1) / 2
    turn = float(rng.uniform(-turn_deg, turn_deg))
    matrix = np.asarray(cv2.getRotationMatrix2D((centre, centre), turn, 1), dtype=np.float64)
    offset = rng.uniform(-move, move, 2) * bank.size - (MARGIN - 1) * bank.size / 2
    matrix[:, 2] += offset
    return np.asarray(cv2.warpAffine(texture, matrix, (bank.size, bank.size)), dtype=np.float32)


def _relief(bank: Bank, number: int, turn_deg: float) -> Plane:
    """Engraved depth as change of luminance: dark cut, bright lower right lip."""
    size = bank.size
    coverage = bank.engraving.copy()
    text, scale = f"No {number:06d}", size / 256 * 0.40
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    place = ((size - width) // 2, round(size * 0.655))
    cv2.putText(coverage, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 235, 1, cv2.LINE_AA)
    matrix = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), turn_deg, 1)
    turned = np.asarray(cv2.warpAffine(coverage, matrix, (size, size)), dtype=np.float32)
    lip = np.zeros_like(turned)
    lip[1:, 1:] = turned[:-1, :-1]
    lip = np.maximum(lip - turned, 0)
    return np.asarray((0.13 * lip - 0.25 * turned) / 255, dtype=np.float32)


def _enamel(image: Image, rng: np.random.Generator) -> None:
    """The blue mark: a thin ring round the logo, or one or two dots in the centre field."""
    size = image.shape[0]
    coverage = np.zeros((size, size), np.uint8)
    if rng.random() < 0.5:
        centre = _fixed((size - 1) / 2), _fixed((size - 1) / 2)
        thick = max(1, round(size * rng.uniform(0.010, 0.018)))
        reach = _fixed(size * rng.uniform(0.215, 0.245))
        cv2.circle(coverage, centre, reach, 255, thick, cv2.LINE_AA, 4)
    else:
        for _ in range(rng.integers(1, 3)):
            at, reach = rng.uniform(0, 2 * np.pi), size * rng.uniform(0.24, 0.29)
            x, y = (
                (size - 1) / 2 + reach * np.cos(at),
                (size - 1) / 2 + reach * np.sin(at),
            )
            dot = _fixed(size * rng.uniform(0.022, 0.036))
            cv2.circle(coverage, (_fixed(x), _fixed(y)), dot, 255, -1, cv2.LINE_AA, 4)
    x, y, width, height = cv2.boundingRect(coverage)
    box = (slice(y, y + height), slice(x, x + width))
    alpha = coverage[box].astype(np.float32)[..., None] * np.float32(0.92 / 255)
    field = image[box].astype(np.float32)
    glaze = ENAMEL * np.float32(rng.uniform(0.88, 1.15)) + np.float32(0.10) * (field - 128)
    image[box] = np.clip(field + alpha * (glaze - field) + 0.5, 0, 255).astype(np.uint8)


def _fixed(value: float) -> int:
    """Pixels with four fractional bits, as OpenCV's `shift` takes them."""
    return round(float(value) * 16)
