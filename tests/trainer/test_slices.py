"""Figures by group."""

import numpy as np

from trainer.measures import exact_rate
from trainer.measures.slices import (
    SIZE,
    Slice,
    biases,
    by_column,
    by_kind,
    columns_of,
    size_kinds,
    worst,
)

SCORES = np.array([0.9, 0.1, 0.2, 0.8])
TRUTH = np.array([True, False, True, False])


def one(value: str, *, n: int = 50, auroc: float = 0.9, over: int = 0, missed: int = 0) -> Slice:
    """A slice of the column `site` with `n` good and `n` defective ones."""
    return Slice("site", value, n, n, auroc, exact_rate(missed, n), exact_rate(over, n))


def test_slices_stand_apart_each_with_its_numbers() -> None:
    found = by_column(SCORES, SCORES >= 0.5, TRUTH, {"light": ["1", "1", "2", ""]})
    assert [(s.value, s.good, s.defective, s.auroc) for s in found] == [
        ("1", 1, 1, 1.0), ("2", 0, 1, None),
    ]  # fmt: skip
    assert found[0].to_json()["n"] == 2
    assert found[0].overkill.trials == 1


def test_measurements_are_no_slices_and_that_is_said() -> None:
    rows = [{"light": str(n % 2), "n": str(n)} for n in range(20)]
    columns, many = columns_of(rows)
    assert list(columns) == ["light"]
    assert many == {"n": 20}


def test_each_class_of_defect_is_measured_against_all_good_parts() -> None:
    found = by_kind("defect", SCORES, SCORES >= 0.5, TRUTH, ["a", "", "b", ""])
    assert [(s.value, s.good, s.auroc) for s in found] == [("a", 2, 1.0), ("b", 2, 0.5)]


def test_sizes_are_terciles_of_the_known_areas() -> None:
    kinds, bounds = size_kinds([1, 2, 3, None, 40, 50, 0, 60])
    assert kinds == ["small", "small", "medium", "", "medium", "large", "", "large"]
    assert bounds is not None
    assert bounds.small_at_most < bounds.medium_at_most
    assert size_kinds([3, None, 4]) == (["", "", ""], None)
    found = by_kind(SIZE, SCORES, SCORES >= 0.5, TRUTH, ["large", "", "small", ""])
    assert [s.value for s in found] == ["small", "large"]


def test_the_worst_slice_is_one_of_enough_parts() -> None:
    slices = [one("a", auroc=0.9), one("b", auroc=0.8), one("c", n=4, auroc=0.2)]
    found = worst(slices)
    assert found is not None
    assert found.value == "b"
    assert worst(slices[2:]) is None


def test_a_site_that_rejects_more_good_parts_is_told_from_chance() -> None:
    found = {bias.measure: bias for bias in biases([one("a", over=15), one("b", over=1), one("c")])}
    over = found["overkill"]
    assert (over.higher, over.lower, round(over.difference, 2)) == ("a", "c", 0.3)
    assert over.told_from_chance
    assert not found["escape"].told_from_chance
    assert found["escape"].difference == 0.0


def test_one_part_in_fifty_is_not_told_from_chance() -> None:
    over = next(b for b in biases([one("a", over=1), one("b")]) if b.measure == "overkill")
    assert over.low < 0 < over.high
    assert biases([one("a", n=4, over=4), one("b")]) == []
