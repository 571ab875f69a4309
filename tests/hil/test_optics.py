"""Facts about light, lens and sensor."""

import math

import numpy as np
import pytest

from fleet_contract.errors import ConfigError
from hil.camera.optics import CONTROLS, CameraSettings, colour_gains, expose, shifted
from hil.render import PartSpec, render_part
from hil.render.spec import Image

PART = render_part(PartSpec(3, 4, kind="stain"))


def frame(settings: CameraSettings, seed: int = 0) -> Image:
    return expose(PART.image, settings, np.random.default_rng(seed))


def test_the_default_camera_shows_the_scene_with_a_little_noise() -> None:
    image = frame(CameraSettings())
    assert abs(image.mean() - PART.image.mean()) < 1
    assert 1 < np.abs(image.astype(float) - PART.image).mean() < 6
    assert np.mean(image == 255) < 0.005


def test_without_noise_a_default_frame_is_the_scene() -> None:
    assert np.array_equal(frame(CameraSettings(noise=0)), PART.image)


def test_the_same_noise_seed_gives_the_same_frame() -> None:
    assert np.array_equal(frame(CameraSettings(), 5), frame(CameraSettings(), 5))
    assert not np.array_equal(frame(CameraSettings(), 5), frame(CameraSettings(), 6))


@pytest.mark.parametrize(
    ("settings", "factor"),
    [
        (CameraSettings(light_level=0.55), 0.55),
        (CameraSettings(exposure_us=2500), 0.5),
        (CameraSettings(exposure_us=2500, gain_db=20 * math.log10(2)), 1.0),
        (CameraSettings(light_level=0), 0.0),
    ],
)
def test_grey_is_proportional_to_light_exposure_and_gain(
    settings: CameraSettings, factor: float
) -> None:
    assert abs(frame(settings).mean() - factor * PART.image.mean()) < 1.5


def test_too_much_light_is_clipped() -> None:
    assert np.mean(frame(CameraSettings(light_level=2.0)) == 255) > 0.3


def test_a_warm_lamp_is_redder_and_a_cold_one_bluer() -> None:
    assert np.allclose(colour_gains(5000), 1)
    warm, cold = colour_gains(3500), colour_gains(7500)
    assert warm[0] > 1 > warm[2]
    assert cold[0] < 1 < cold[2]


def test_blur_takes_away_detail() -> None:
    sharp, soft = (frame(CameraSettings(noise=0, focus_blur_px=blur)) for blur in (0.0, 2.0))
    assert np.abs(np.diff(soft.astype(float), axis=1)).mean() < 0.7 * (
        np.abs(np.diff(sharp.astype(float), axis=1)).mean()
    )


def test_dirt_darkens_places_that_do_not_move_with_the_part() -> None:
    clean, dirty = (frame(CameraSettings(noise=0, dirt=amount)) for amount in (0.0, 0.8))
    assert np.all(dirty <= clean)
    flat = np.full((256, 256, 3), 200, np.uint8)
    moved, still = (
        expose(flat, CameraSettings(noise=0, dirt=0.8, shift_x_px=x), np.random.default_rng(0))
        for x in (9.0, 0.0)
    )
    assert np.array_equal(moved, still)


def test_the_mask_moves_with_the_frame() -> None:
    settings = CameraSettings(noise=0, shift_x_px=7, shift_y_px=-4)
    good = render_part(PartSpec(3, 4, 0.0)).image
    other = expose(good, settings, np.random.default_rng(0))
    changed = np.any(other != frame(settings), axis=-1)
    mask = shifted(PART.mask, settings)
    assert changed.any()
    assert not np.any(changed & (mask == 0))


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_takes_its_range_and_nothing_beyond(name: str) -> None:
    control = CONTROLS[name]
    for value in (control.low, control.high):
        frame(CameraSettings().patched({name: value}))
    for bad in (control.low - 1, control.high + 1, math.nan, "5", True, None):
        with pytest.raises(ConfigError, match=name):
            CameraSettings().patched({name: bad})


def test_an_unknown_control_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'lights'.*light_level"):
        CameraSettings().patched({"lights": 1})
