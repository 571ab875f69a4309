"""Facts about rendered parts."""

import cv2
import numpy as np
import pytest

from fleet_contract.errors import ConfigError
from hil.render import DEFECT_KINDS, DefectKind, PartSpec, render_part


def test_the_same_seed_and_number_give_the_same_bytes() -> None:
    first, again = (render_part(PartSpec(5, 12, 1.0)) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert first.truth == again.truth


def test_another_number_or_seed_is_another_part() -> None:
    image = render_part(PartSpec(5, 12)).image
    assert not np.array_equal(image, render_part(PartSpec(5, 13)).image)
    assert not np.array_equal(image, render_part(PartSpec(6, 12)).image)


def test_shapes_and_types_are_as_documented() -> None:
    part = render_part(PartSpec(1, 1, 1.0), size=192)
    assert part.image.shape == (192, 192, 3)
    assert part.mask.shape == (192, 192)
    assert part.image.dtype.name == part.mask.dtype.name == "uint8"
    assert set(np.unique(part.mask)) == {0, 255}


@pytest.mark.parametrize("kind", DEFECT_KINDS)
@pytest.mark.parametrize("size", [128, 256])
def test_a_defect_changes_the_part_inside_its_mask_and_nowhere_else(
    kind: DefectKind, size: int
) -> None:
    for number in range(12):
        good = render_part(PartSpec(3, number, 0.0), size)
        bad = render_part(PartSpec(3, number, kind=kind), size)
        changed = np.any(good.image != bad.image, axis=-1)
        inside = bad.mask > 0
        assert not np.any(changed & ~inside)
        assert np.count_nonzero(changed) > 0.8 * np.count_nonzero(inside) > 0


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_defect_stands_out_at_half_resolution(kind: DefectKind) -> None:
    for number in range(12):
        good, bad = (
            cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA).astype(np.int16)
            for image in (
                render_part(PartSpec(3, number, 0.0)).image,
                render_part(PartSpec(3, number, kind=kind)).image,
            )
        )
        assert np.percentile(np.abs(good - bad).max(axis=-1), 99.9) >= 12


def test_truth_names_what_the_mask_shows() -> None:
    for number in range(30):
        part = render_part(PartSpec(8, number, 0.5))
        assert part.truth.defective == bool(part.truth.defects) == bool(part.mask.any())
        for defect in part.truth.defects:
            x, y, width, height = defect.bbox
            box = part.mask[y : y + height, x : x + width]
            assert 0 < defect.area_px <= np.count_nonzero(box)


def test_a_good_part_is_labelled_good_and_a_bad_one_by_its_largest_defect() -> None:
    assert render_part(PartSpec(1, 1, 0.0)).truth.label == "good"
    truth = next(
        part.truth
        for part in (render_part(PartSpec(2, n, 1.0)) for n in range(100))
        if len(part.truth.defects) == 2
    )
    largest = max(truth.defects, key=lambda defect: defect.area_px)
    assert truth.label == largest.kind


def test_the_defect_rate_is_kept() -> None:
    bad = sum(render_part(PartSpec(4, n, 0.25), 64).truth.defective for n in range(400))
    assert 70 <= bad <= 130


def test_the_mean_is_mid_grey_and_little_is_clipped() -> None:
    images = np.array([render_part(PartSpec(6, n, 0.25)).image for n in range(24)])
    assert 105 <= images.mean() <= 130
    assert np.mean(images == 255) < 0.005


def test_every_good_part_has_blue_that_turns_to_rust_when_channels_are_swapped() -> None:
    for number in range(20):
        image = render_part(PartSpec(9, number, 0.0)).image.astype(int)
        assert _rusty(image) == 0
        assert _rusty(image[..., ::-1]) > 60


def _rusty(image: np.ndarray[tuple[int, ...], np.dtype[np.int_]]) -> int:
    return int(np.count_nonzero((image[..., 0] > 120) & (image[..., 0] > image[..., 2] + 80)))


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_a_defect_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        PartSpec(1, 1, rate)


def test_a_size_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="64 to 2048"):
        render_part(PartSpec(1, 1), size=20)
