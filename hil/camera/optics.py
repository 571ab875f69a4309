"""What a camera makes of a scene: light, lens, sensor. Pure: values in, values out.

The sensor is linear, as EMVA 1288 models machine-vision cameras: grey level is proportional to
light x exposure x gain, shot noise grows with the root of the signal, read noise is constant, and
what exceeds full scale is clipped. Light colour follows Planck's law.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import ConfigError
from hil.render.spec import Image, Mask, Plane

DEFAULT_EXPOSURE_US: Final = 5000.0
DEFAULT_COLOUR_K: Final = 5000.0
PLANCK_C2_NM_K: Final = 1.438777e7  # second radiation constant hc/k
CHANNEL_NM: Final = (605.0, 540.0, 460.0)  # where the R, G and B filters peak
FULL_WELL: Final = 9000.0  # electrons at grey level 255
READ_NOISE: Final = 0.8  # grey levels
SMUDGES: Final = 14


@dataclass(frozen=True)
class Control:
    """Range of a control, both ends included, and its unit."""

    low: float
    high: float
    unit: str


CONTROLS: Final[dict[str, Control]] = {
    "exposure_us": Control(20.0, 100_000.0, "us"),
    "gain_db": Control(0.0, 24.0, "dB"),
    "light_level": Control(0.0, 2.0, "relative to the default lamp"),
    "light_colour_k": Control(2000.0, 10_000.0, "K"),
    "focus_blur_px": Control(0.0, 10.0, "px, standard deviation"),
    "dirt": Control(0.0, 1.0, "amount"),
    "shift_x_px": Control(-64.0, 64.0, "px, to the right"),
    "shift_y_px": Control(-64.0, 64.0, "px, downwards"),
    "noise": Control(0.0, 10.0, "times the sensor's own"),
}


@dataclass(frozen=True)
class CameraSettings:
    """The controls; ranges and units stand in CONTROLS. Raises ConfigError out of range."""

    exposure_us: float = DEFAULT_EXPOSURE_US
    gain_db: float = 0.0
    light_level: float = 1.0
    light_colour_k: float = DEFAULT_COLOUR_K
    focus_blur_px: float = 0.0
    dirt: float = 0.0
    shift_x_px: float = 0.0
    shift_y_px: float = 0.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_control(name, value)

    def patched(self, values: Mapping[str, object]) -> "CameraSettings":
        """A copy with some controls changed. Raises ConfigError for a wrong name or value."""
        return replace(self, **{name: check_control(name, v) for name, v in values.items()})


def check_control(name: str, value: object) -> float:
    """The value as a float, if the control exists and the value lies in its range."""
    control = CONTROLS.get(name)
    if control is None:
        raise ConfigError(
            f"unknown camera control {name!r}",
            expected=f"one of {', '.join(CONTROLS)}",
            remedy="Correct the name.",
        )
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not control.low <= float(str(value)) <= control.high:
        raise ConfigError(
            f"the camera control {name} is out of range",
            expected=f"a number from {control.low:g} to {control.high:g} ({control.unit})",
            found=repr(value),
            remedy="Give a value within the range.",
        )
    return float(str(value))


def expose(
    image: Image, settings: CameraSettings, rng: np.random.Generator, dirt_seed: int = 0
) -> Image:
    """One frame, uint8 [H, W, 3] RGB, of a scene rendered under the default light.

    `rng` gives the noise; `dirt_seed` says which smudges sit on the front glass, which do not
    move with the part.
    """
    scene = np.asarray(shifted(image, settings), dtype=np.float32)
    if settings.dirt > 0:
        scene = scene * (1 - np.float32(settings.dirt) * _smudges(image.shape[0], dirt_seed))
    if settings.focus_blur_px > 0:
        blurred = cv2.GaussianBlur(scene, (0, 0), settings.focus_blur_px)
        scene = np.asarray(blurred, dtype=np.float32)
    signal = np.asarray(scene * _response(settings), dtype=np.float32)
    if settings.noise > 0:
        signal += _noise(signal, settings, rng)
    return np.asarray(np.clip(signal + np.float32(0.5), 0, 255), dtype=np.uint8)


def shifted(image: Image | Mask, settings: CameraSettings) -> Image | Mask:
    """The scene moved as the controls say; images by interpolation, masks by nearest neighbour."""
    move = (settings.shift_x_px, settings.shift_y_px)
    if move == (0.0, 0.0):
        return image
    flat = image.ndim == 2
    matrix = np.array([[1, 0, move[0]], [0, 1, move[1]]], np.float64)
    moved = cv2.warpAffine(
        image,
        matrix,
        (image.shape[1], image.shape[0]),
        flags=cv2.INTER_NEAREST if flat else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT if flat else cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved, dtype=np.uint8)


def colour_gains(kelvin: float) -> NDArray[np.float32]:
    """R, G, B of a black body, relative to DEFAULT_COLOUR_K and to green (Planck's law)."""

    def radiance(nm: float, at: float) -> float:
        return 1.0 / math.expm1(PLANCK_C2_NM_K / (nm * at))

    gains = [radiance(nm, kelvin) / radiance(nm, DEFAULT_COLOUR_K) for nm in CHANNEL_NM]
    return np.array([gain / gains[1] for gain in gains], np.float32)


def _response(settings: CameraSettings) -> NDArray[np.float32]:
    amplification: float = 10.0 ** (settings.gain_db / 20)
    level = settings.light_level * settings.exposure_us / DEFAULT_EXPOSURE_US * amplification
    return colour_gains(settings.light_colour_k) * np.float32(level)


def _noise(
    signal: NDArray[np.float32], settings: CameraSettings, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Shot and read noise in grey levels; gain amplifies both."""
    gain: float = 10.0 ** (settings.gain_db / 20)
    variance = np.maximum(signal, 0) * np.float32(gain * 255 / FULL_WELL)
    deviation = np.sqrt(variance + np.float32((READ_NOISE * gain) ** 2))
    unit = rng.standard_normal(signal.shape, dtype=np.float32)
    return np.asarray(unit * deviation * np.float32(settings.noise), dtype=np.float32)


@lru_cache(maxsize=8)
def _smudges(size: int, seed: int) -> Plane:
    """Share of light that the dirt takes away at amount 1, float32 [H, W, 1]."""
    rng = np.random.default_rng([30, seed])
    layer = np.zeros((size, size), np.float32)
    for _ in range(SMUDGES):
        x, y = (int(v) for v in rng.uniform(0.1, 0.9, 2) * size)
        axes = [max(1, int(v)) for v in rng.uniform(0.01, 0.11, 2) * size]
        tone = float(rng.uniform(0.25, 0.75))
        cv2.ellipse(layer, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, tone, -1)
    soft = cv2.GaussianBlur(layer, (0, 0), 0.012 * size)
    return np.asarray(soft, dtype=np.float32)[..., None]
