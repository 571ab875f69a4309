"""Streamed pixel measures against slow, direct computations."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from trainer.measures import PixelCounts, average_precision
from trainer.measures.pixels import codes_of

Heat = NDArray[np.float32]
Mask = NDArray[np.bool_]


def pictures(seed: int, count: int = 6, *, levels: int = 0) -> tuple[list[Heat], list[Mask]]:
    """Heat of 24x31 with blobs of defects, some of which it does not see; a third are good."""
    rng = np.random.default_rng(seed)
    heats, masks = [], []
    for number in range(count):
        mask = np.zeros((24, 31), np.bool_)
        for _ in range(0 if number % 3 == 2 else rng.integers(1, 4)):
            y, x, h, w = rng.integers(0, 18), rng.integers(0, 24), *rng.integers(1, 6, 2)
            mask[y : y + h, x : x + w] = True
        heat = rng.normal(0, 1, mask.shape) + mask * rng.uniform(0, 3)
        heats.append((np.round(heat * levels) / levels if levels else heat).astype(np.float32))
        masks.append(mask)
    return heats, masks


def counted(heats: list[Heat], masks: list[Mask]) -> PixelCounts:
    counts = PixelCounts()
    for heat, mask in zip(heats, masks, strict=True):
        counts.add(heat, mask)
    return counts


def slow_aupro(heats: list[Heat], masks: list[Mask], limit: float) -> float:
    """Threshold by threshold, component by component, as the definition reads."""
    good = np.concatenate([heat[~mask] for heat, mask in zip(heats, masks, strict=True)])
    regions = []
    for heat, mask in zip(heats, masks, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [heat[labels == number] for number in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([heat.reshape(-1) for heat in heats]))[::-1]:
        overlap = np.mean([(region >= threshold).mean() for region in regions])
        points.append((float((good >= threshold).mean()), float(overlap)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= limit:
            break
        end = min(x1, limit)
        at_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0) if x1 > x0 else y1
        area += (end - x0) * (y0 + at_end) / 2
    return area / limit


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit", [0.3, 0.05])
@pytest.mark.parametrize("levels", [0, 4])
def test_aupro_is_that_of_the_definition(seed: int, limit: float, levels: int) -> None:
    heats, masks = pictures(seed, levels=levels)
    found = counted(heats, masks).aupro(limit)
    assert found == pytest.approx(slow_aupro(heats, masks, limit), abs=2e-3 if not levels else 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_pixel_average_precision_is_that_of_all_pixels_in_one_list(seed: int) -> None:
    heats, masks = pictures(seed)
    flat = np.concatenate([heat.reshape(-1) for heat in heats]).astype(np.float64)
    truth = np.concatenate([mask.reshape(-1) for mask in masks])
    found = counted(heats, masks).average_precision()
    assert found == pytest.approx(average_precision(flat, truth), abs=1e-3)


def test_a_heat_map_that_is_right_everywhere_has_full_overlap() -> None:
    _, masks = pictures(0)
    counts = counted([mask.astype(np.float32) for mask in masks], masks)
    assert counts.aupro(0.3) == pytest.approx(1.0)
    assert counts.average_precision() == 1.0


def test_every_defect_weighs_the_same_whatever_its_size() -> None:
    # A large defect that is found and a small one that is not: half of the regions are covered.
    mask = np.zeros((40, 40), np.bool_)
    mask[:20, :20], mask[30, 30] = True, True
    heat = np.zeros((40, 40), np.float32)
    heat[:20, :20], heat[30, 30] = 5, -5
    # From 0.5 at once straight to 0.5 at a rate of 1, where nothing below 0 was good.
    assert counted([heat], [mask]).aupro(0.3) == pytest.approx(0.5)


def test_touching_corners_make_one_defect() -> None:
    mask = np.eye(6, dtype=np.bool_)
    assert counted([mask.astype(np.float32)], [mask]).components == 1


def test_codes_keep_the_order_of_values_of_any_size() -> None:
    values = np.array([-np.inf, -3e38, -40.0, -1.001, -1, -1e-30, 0, 1e-30, 1, 1.001, 40, 3e38],
                      np.float32)  # fmt: skip
    codes = codes_of(values).astype(np.int64)
    assert (np.diff(codes) > 0).all()
    assert codes_of(np.array([-0.0], np.float32)) == codes_of(np.array([0.0], np.float32))


def test_an_image_in_pieces_counts_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    heats, masks = pictures(7)
    whole = counted(heats, masks)
    monkeypatch.setattr("trainer.measures.pixels._CHUNK", 100)
    pieces = counted(heats, masks)
    np.testing.assert_array_equal(whole.good, pieces.good)
    np.testing.assert_allclose(whole.covered, pieces.covered)
    for one, other in zip(whole.images, pieces.images, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.codes, other.codes)
        np.testing.assert_array_equal(one.bad, other.bad)


def test_without_defects_or_good_pixels_nothing_is_claimed() -> None:
    heat = np.zeros((4, 4), np.float32)
    clean = counted([heat], [np.zeros((4, 4), np.bool_)])
    assert (clean.average_precision(), clean.aupro(0.3)) == (None, None)
    assert counted([heat], [np.ones((4, 4), np.bool_)]).aupro(0.3) is None
    assert PixelCounts().average_precision() is None
