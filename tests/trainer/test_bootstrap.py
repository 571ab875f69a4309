"""Resampled intervals: every resample is what a plain loop would give, and they cover."""

import numpy as np
import pytest

from trainer.measures import PixelCounts, auroc, average_precision
from trainer.measures.bootstrap import (
    Resamples,
    aurocs,
    average_precisions,
    interval,
    pixel_average_precisions,
)

RNG = np.random.default_rng(5)
GROUPS = [f"p{n // 2}" for n in range(60)]
TRUTH = np.array([n % 6 < 2 for n in range(60)])
SCORES = np.round(RNG.normal(0, 1, 60) + TRUTH, 1)


def plain(resamples: Resamples) -> list[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """The images of each resample, as many times as they are drawn."""
    blocks = np.concatenate(list(resamples.by_image(np.arange(60))))
    return [np.repeat(np.arange(60), row.astype(int)) for row in blocks]


def test_every_resample_is_what_a_plain_loop_gives() -> None:
    resamples = Resamples(GROUPS, TRUTH, seed=3, count=50)
    rocs = aurocs(resamples, SCORES, TRUTH)
    precisions = average_precisions(resamples, SCORES, TRUTH)
    for number, chosen in enumerate(plain(resamples)):
        assert rocs[number] == pytest.approx(auroc(SCORES[chosen], TRUTH[chosen]))
        assert precisions[number] == pytest.approx(average_precision(SCORES[chosen], TRUTH[chosen]))


def test_images_of_one_part_are_drawn_together() -> None:
    for chosen in plain(Resamples(GROUPS, TRUTH, count=20)):
        counts = np.bincount(chosen, minlength=60)
        np.testing.assert_array_equal(counts[::2], counts[1::2])
        # As many parts of each kind as there are.
        assert counts[TRUTH].sum() == TRUTH.sum()


def test_blocks_do_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = aurocs(Resamples(GROUPS, TRUTH, count=30), SCORES, TRUTH)
    monkeypatch.setattr("trainer.measures.bootstrap._BLOCK", 200)
    np.testing.assert_allclose(aurocs(Resamples(GROUPS, TRUTH, count=30), SCORES, TRUTH), whole)


def test_nine_intervals_of_ten_or_more_hold_the_true_value() -> None:
    # Unit normals one apart: the AUROC of the whole population is Phi(1 / sqrt 2) = 0.7602.
    held = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        truth = np.arange(120) < 50
        scores = rng.normal(0, 1, 120) + truth
        resamples = Resamples([str(n) for n in range(120)], truth, seed=trial, count=300)
        low, high = interval(aurocs(resamples, scores, truth))
        held += low <= 0.7602 <= high
    assert held >= 52


def test_pixel_intervals_lie_around_the_measured_value() -> None:
    rng = np.random.default_rng(1)
    counts, groups, truth = PixelCounts(), [], []
    for number in range(40):
        mask = np.zeros((16, 16), np.bool_)
        if number % 2:
            mask[3:8, 4:9] = True
        groups.append(f"p{number}")
        truth.append(number % 2 == 1)
        if number == 7:
            counts.skip()
        else:
            counts.add((rng.normal(0, 1, mask.shape) + 2 * mask).astype(np.float32), mask)
    values = pixel_average_precisions(Resamples(groups, np.array(truth), count=400), counts)
    exact = counts.average_precision()
    assert values is not None
    assert exact is not None
    low, high = interval(values)
    assert low < exact < high
    assert high - low < 0.2


def test_with_one_defective_part_no_interval_is_claimed() -> None:
    assert not Resamples(["a", "b", "c"], np.array([False, False, True])).possible
    assert Resamples(["a", "b", "c", "d"], np.array([False, False, True, True])).possible
