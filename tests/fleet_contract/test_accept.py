"""Acceptance limits: what was located, measured in millimetres, by zone and class."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from fleet_contract.errors import DataError
from fleet_contract.inference.accept import FoundDefect, allowed, locate
from fleet_contract.manifest import Acceptance, Decision, Limit, Recipe, Zone

SIZE = (200, 400)
"""Of the frame; maps are a quarter of it."""
CLASSES = ["dent", "scratch"]


def heat(*boxes: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """A map with hot boxes (left, top, width, height), in cells."""
    found = np.full((50, 100), 0.01, np.float32)
    for left, top, width, height in boxes:
        found[top : top + height, left : left + width] = 0.9
    return found


def acceptance(*limits: Limit, **more: Any) -> Acceptance:
    return Acceptance(mm_per_pixel=0.1, limits=list(limits), **more)


def test_a_defect_is_found_where_it_lies_and_as_large_as_it_is() -> None:
    (found,) = locate(heat((10, 20, 6, 2)), None, ["dent"], SIZE, 0.5)
    assert found.box == (40, 80, 24, 8)
    assert found.centre == pytest.approx((0.13, 0.42))
    assert found.length_px == pytest.approx(24)
    assert found.area_px == pytest.approx(24 * 8)
    assert found.kind == "dent"


def test_a_slanted_scratch_is_as_long_as_itself_and_not_as_its_shadow() -> None:
    found = np.zeros((50, 100), np.float32)
    for step in range(30):
        found[10 + step, 10 + step] = 1.0
    (scratch,) = locate(found, None, ["scratch"], SIZE, 0.5)
    assert scratch.length_px == pytest.approx(30 * 4 * 2**0.5, rel=0.05)


def test_the_class_of_a_defect_is_that_of_its_place() -> None:
    kinds = np.zeros((2, 50, 100), np.float32)
    kinds[0, :, :50], kinds[1, :, 50:] = 3.0, 3.0
    found = locate(heat((10, 20, 9, 9), (70, 20, 3, 3)), kinds, CLASSES, SIZE, 0.5)
    assert [defect.kind for defect in found] == ["dent", "scratch"]


@pytest.mark.parametrize(
    ("limit", "within"),
    [
        (Limit(max_length_mm=2.4), True),
        (Limit(max_length_mm=2.3), False),
        (Limit(max_area_mm2=1.92), True),
        (Limit(max_area_mm2=1.91), False),
        (Limit(max_count=1), True),
        (Limit(max_count=0), False),
        (Limit(kind="scratch", max_count=9), False),  # of dents nothing is said
    ],
)
def test_a_dent_of_24_by_8_pixels_at_a_tenth_of_a_millimetre(limit: Limit, within: bool) -> None:
    found = locate(heat((10, 20, 6, 2)), None, ["dent"], SIZE, 0.5)
    assert allowed(found, acceptance(limit)) is within


@pytest.mark.parametrize(
    ("limit", "bundle", "station", "within"),
    [
        (Limit(max_length_mm=2.4), 0.1, 0.2, False),
        (Limit(max_length_mm=2.4), 0.5, 0.1, True),
        (Limit(max_length_mm=2.4), None, 0.1, True),
        (Limit(max_length_mm=2.4), None, None, False),
        (Limit(max_area_mm2=1e6), None, None, False),
        (Limit(max_count=1), None, None, True),
    ],
)
def test_the_stations_calibration_goes_before_the_bundles_scale(
    limit: Limit, bundle: float | None, station: float | None, within: bool
) -> None:
    found = locate(heat((10, 20, 6, 2)), None, ["dent"], SIZE, 0.5)
    rules = Acceptance(mm_per_pixel=bundle, limits=[limit])
    assert allowed(found, rules, station) is within
    assert allowed((), rules), "no defect needs no scale"


def test_only_limits_of_size_need_a_scale() -> None:
    sized = Acceptance(limits=[Limit(max_length_mm=1.0)])
    counted = Acceptance(limits=[Limit(max_area_mm2=0.0, max_count=2)])
    assert Decision(threshold=0.5, acceptance=sized).needs_scale
    assert not Decision(threshold=0.5, acceptance=counted).needs_scale
    assert Decision(threshold=0.5, recipes={"matt": Recipe(acceptance=sized)}).needs_scale
    assert not Decision(threshold=0.5, acceptance=acceptance(Limit(max_length_mm=1))).needs_scale


def test_a_zone_has_limits_of_its_own() -> None:
    face = Zone(name="face", corners=[(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)])
    rules = acceptance(Limit(zone="face", max_count=0), Limit(max_count=5), zones=[face])
    left, right = (locate(heat((x, 20, 3, 3)), None, ["dent"], SIZE, 0.5) for x in (10, 80))
    assert not allowed(left, rules)
    assert allowed(right, rules)


def test_more_defects_than_allowed_reject() -> None:
    rules = acceptance(Limit(max_count=2))
    three = locate(heat((10, 20, 3, 3), (30, 20, 3, 3), (60, 20, 3, 3)), None, ["dent"], SIZE, 0.5)
    assert not allowed(three, rules)
    assert allowed(three[:2], rules)


def test_a_limit_for_a_zone_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match="zones that are not there: rim"):
        acceptance(Limit(zone="rim", max_count=1))


def test_a_recipe_decides_otherwise_and_an_unknown_one_not_at_all() -> None:
    rules = acceptance(Limit(max_count=3))
    decision = Decision(threshold=0.5, acceptance=rules, recipes={"matt": Recipe(threshold=0.7)})
    assert decision.for_recipe("").threshold == 0.5
    assert decision.for_recipe("matt").threshold == 0.7
    assert decision.for_recipe("matt").acceptance == rules
    with pytest.raises(DataError, match="no recipe 'gloss'"):
        decision.for_recipe("gloss")


def test_no_defect_is_found_in_a_cold_map() -> None:
    assert locate(heat(), None, ["dent"], SIZE, 0.5) == tuple[FoundDefect, ...]()
