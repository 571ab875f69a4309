"""Attribute agreement, against tables worked out by hand."""

import numpy as np
import pytest

from trainer.agreement import agreement, appraise, cohen_kappa, fleiss_kappa

TRUTH = np.array([True] * 10 + [False] * 10)


def decided(
    *wrong: int, missing: tuple[int, ...] = ()
) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """The truth, but for the images named."""
    decisions = TRUTH.astype(np.int8)
    decisions[list(wrong)] = 1 - decisions[list(wrong)]
    decisions[list(missing)] = -1
    return decisions


def test_an_appraiser_misses_defects_and_raises_false_alarms() -> None:
    found = appraise("anna", "person", decided(0, 10, 11), TRUTH)
    assert found.effectiveness.rate == 0.85
    assert (found.miss.count, found.miss.trials) == (1, 10)
    assert (found.false_alarm.count, found.false_alarm.trials) == (2, 10)
    assert found.rating() == "unacceptable"


def test_ratings_are_those_of_the_manual() -> None:
    truth = np.arange(200) < 100
    right = truth.astype(np.int8)
    marginal = right.copy()
    marginal[:4] = 0
    assert appraise("a", "model", right, truth).rating() == "acceptable"
    assert appraise("a", "model", marginal, truth).rating() == "marginal"


def test_what_an_appraiser_did_not_see_does_not_count() -> None:
    found = appraise("ben", "person", decided(missing=(0, 1, 10)), TRUTH)
    assert (found.effectiveness.count, found.effectiveness.trials) == (17, 17)


def test_cohens_kappa_of_a_hand_worked_table() -> None:
    # 20 both reject, 15 both accept, 5 and 10 differ of 50: observed .70, by chance .50.
    one = np.array([True] * 25 + [False] * 25)
    other = np.array([True] * 20 + [False] * 5 + [True] * 10 + [False] * 15)
    assert cohen_kappa(one, other) == pytest.approx(0.4)
    assert cohen_kappa(np.array([True]), np.array([True])) is None


def test_fleiss_kappa_of_two_who_always_agree_and_of_two_who_never_do() -> None:
    one = np.array([1, 0, 1, 0], np.int8)
    assert fleiss_kappa(np.stack([one, one])) == pytest.approx(1.0)
    assert fleiss_kappa(np.stack([one, 1 - one])) == pytest.approx(-1.0)
    assert fleiss_kappa(one[None]) is None


def test_fleiss_kappa_of_a_hand_worked_table() -> None:
    # Three appraisers: 3:0, 2:1, 0:3, 1:2. Agreement (1 + 1/3 + 1 + 1/3) / 4 = 2/3; by chance 1/2.
    table = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0]], np.int8)
    assert fleiss_kappa(table) == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))


def test_people_and_model_are_read_on_the_same_images() -> None:
    found = agreement(
        {"anna": decided(0, missing=(19,)), "ben": decided(1, 2, missing=(18,))},
        {"onnx/int8": decided(18, 19)}, TRUTH,
    )  # fmt: skip
    assert found["images"] == 18
    by_name = {one["name"]: one for one in found["appraisers"]}
    # The model is wrong only where one of the two did not look.
    assert by_name["onnx/int8"]["effectiveness"]["rate"] == 1.0
    assert by_name["anna"]["kind"] == "person"
    assert found["human_level"]["effectiveness"] == pytest.approx((17 / 18 + 16 / 18) / 2)
    assert found["human_level"]["all_agree"]["count"] == 15
    assert [pair["pair"] for pair in found["pairs"]] == [
        ["anna", "ben"], ["anna", "onnx/int8"], ["ben", "onnx/int8"],
    ]  # fmt: skip


def test_without_people_there_is_no_human_level() -> None:
    assert agreement({}, {"onnx/int8": decided()}, TRUTH) == {}
    unseen = np.full(20, -1, np.int8)
    assert agreement({"anna": unseen}, {"onnx/int8": decided()}, TRUTH) == {}
