"""Measures against values that were worked out by hand."""

import numpy as np
import pytest

from trainer import measures


def test_auroc_counts_the_pairs_that_are_in_order() -> None:
    # Defective 0.9 beats both good ones; defective 0.4 beats 0.1 and ties 0.4: (2 + 1.5) / 4.
    scores = np.array([0.9, 0.4, 0.4, 0.1])
    assert measures.auroc(scores, np.array([True, True, False, False])) == pytest.approx(0.875)


def test_auroc_is_unknown_where_one_side_is_empty() -> None:
    assert measures.auroc(np.array([0.1, 0.2]), np.array([False, False])) is None


def test_average_precision_of_a_hand_worked_ranking() -> None:
    # Hits at ranks 1 and 3 of 4: (1/1 + 2/3) / 2.
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    truth = np.array([True, False, True, False])
    assert measures.average_precision(scores, truth) == pytest.approx(5 / 6)


def test_average_precision_takes_ties_together() -> None:
    # All four tie: precision 2/4 at recall 1, whatever their order.
    scores = np.full(4, 0.5)
    assert measures.average_precision(scores, np.array([True, False, True, False])) == 0.5


def test_pixel_average_precision_equals_the_exact_one_on_few_levels() -> None:
    heat = [np.array([[0.0, 1.0], [0.5, 0.25]], np.float32)]
    mask = [np.array([[False, True], [False, True]])]
    exact = measures.average_precision(heat[0].reshape(-1).astype(float), mask[0].reshape(-1))
    assert measures.pixel_average_precision(heat, mask) == pytest.approx(exact)


def test_pixel_average_precision_is_unknown_without_marked_pixels() -> None:
    assert measures.pixel_average_precision([np.zeros((2, 2), np.float32)],
                                            [np.zeros((2, 2), np.bool_)]) is None  # fmt: skip


def test_no_escape_in_ten_still_means_up_to_31_percent() -> None:
    # Clopper-Pearson: 1 - 0.025 ** (1 / 10).
    rate = measures.exact_rate(0, 10)
    assert (rate.rate, rate.low) == (0.0, 0.0)
    assert rate.high == pytest.approx(1 - 0.025**0.1)


def test_an_exact_interval_is_that_of_the_tables() -> None:
    # 1 of 10: 0.25 % to 44.5 %.
    rate = measures.exact_rate(1, 10)
    assert rate.low == pytest.approx(0.00253, abs=1e-5)
    assert rate.high == pytest.approx(0.44502, abs=1e-5)


def test_a_rate_without_trials_is_unknown_and_not_zero() -> None:
    rate = measures.exact_rate(0, 0)
    assert rate.rate is None
    assert (rate.low, rate.high) == (0.0, 1.0)


def test_escape_is_over_defective_and_overkill_over_good_parts() -> None:
    rejected = np.array([True, False, True, False, False])
    defective = np.array([True, True, False, False, False])
    escape, overkill = measures.escape(rejected, defective), measures.overkill(rejected, defective)
    assert (escape.count, escape.trials) == (1, 2)
    assert (overkill.count, overkill.trials) == (1, 3)


def test_f1_of_hand_counted_verdicts() -> None:
    rejected = np.array([True, True, False, False])
    defective = np.array([True, False, True, False])
    assert measures.f1(rejected, defective) == 0.5


def test_the_oracle_f1_is_never_below_that_of_a_threshold() -> None:
    scores = np.array([0.2, 0.6, 0.4, 0.1])
    defective = np.array([False, True, True, False])
    assert measures.f1_max(scores, defective) == 1.0
    assert measures.f1(scores >= 0.5, defective) < 1.0


def test_the_conformal_threshold_rejects_no_more_good_parts_than_promised() -> None:
    # n = 9, a = 0.2: the ceil(10 * 0.8) = 8th smallest score is still accepted.
    good = np.arange(1.0, 10.0)
    threshold = measures.conformal_threshold(good, 0.2)
    assert threshold is not None
    assert 8.0 < threshold < 8.001


def test_too_few_good_parts_promise_nothing() -> None:
    assert measures.conformal_threshold(np.arange(10.0), 0.02) is None


def test_outgoing_defects_are_counted_among_what_passes() -> None:
    rejected = np.array([True, False, False, False])
    defective = np.array([True, True, False, False])
    found = measures.outgoing_dppm(rejected, defective)
    assert (found["missed"], found["passed"]) == (1, 3)
    assert found["value"] == pytest.approx(1e6 / 3)
    assert measures.outgoing_dppm(np.array([True]), np.array([True]))["value"] is None


def test_each_class_has_its_own_recall() -> None:
    found = measures.class_recalls(
        np.array([True, False, True, False]), ["a", "a", "b", "good"], "good"
    )
    assert {name: rate.rate for name, rate in found.items()} == {"a": 0.5, "b": 1.0}


def test_the_interval_of_a_difference_is_that_of_newcombes_table() -> None:
    # 56 of 70 against 48 of 80: Newcombe 1998, table II, method 10: 0.0524 to 0.3339.
    low, high = measures.difference_interval(
        measures.exact_rate(56, 70), measures.exact_rate(48, 80)
    )
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)


def test_scores_that_mean_what_they_say_have_no_calibration_error() -> None:
    scores = np.array([0.25, 0.25, 0.25, 0.25, 1.0])
    defective = np.array([True, False, False, False, True])
    assert measures.calibration(scores, defective).error == 0.0
    # Three quarters too sure in four of five.
    assert measures.calibration(scores, ~defective).error == pytest.approx(0.8 * 0.5 + 0.2 * 1.0)
    assert measures.calibration(np.array([]), np.array([], bool)).error is None
