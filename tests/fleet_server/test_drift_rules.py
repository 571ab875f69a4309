"""From windows to an alarm: quiet where nothing moved, in time where something did."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fleet_server.drift.rules import (
    LARGEST_R1,
    Tracked,
    alarming,
    features_of,
    movements,
    reference,
    references,
    scores_of,
    step,
)
from tests.support.telemetry import LEVELS, window

THRESHOLD = 5.9
Series = NDArray[np.float64]


def series(seed: int, windows: int, features: int, rho: float = 0.0) -> Series:
    """[windows, features] float64, each feature an AR(1) series of mean 0 and sd 1."""
    noise = np.random.default_rng(seed).normal(size=(windows, features))
    x = np.empty_like(noise)
    x[0] = noise[0]
    for n in range(1, windows):
        x[n] = rho * x[n - 1] + np.sqrt(1 - rho**2) * noise[n]
    return x


def first_alarm(x: Series, baseline: int) -> int | None:
    """Windows from the baseline's end to the first alarm."""
    rows = [{f"cell_{n:02d}": float(v) for n, v in enumerate(row)} for row in x]
    known = references(rows[:baseline])
    tracked: dict[str, Tracked] = {}
    for n, row in enumerate(rows[baseline:]):
        tracked = step(known, tracked, row, 8)
        if alarming(movements(known, tracked), THRESHOLD):
            return n + 1
    return None


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_quiet_features_stay_quiet(rho: float) -> None:
    # 6 cameras of 40 features over 600 windows: 20 minutes of windows of 2 s each.
    alarms = [first_alarm(series(seed, 630, 40, rho), 30) for seed in range(6)]
    assert alarms == [None] * 6


def shifted(seed: int, baseline: int, after: int, sds: float) -> Series:
    x = series(seed, baseline + after, 4)
    x[baseline:, 0] += sds
    return x


def test_three_sds_are_found_within_forty_windows_of_a_short_baseline() -> None:
    found = [first_alarm(shifted(seed, 30, 40, 3.0), 30) for seed in range(20)]
    assert sum(n is not None for n in found) >= 19


def test_one_and_a_half_sds_are_found_within_two_hundred_windows_of_a_long_baseline() -> None:
    found = [first_alarm(shifted(seed, 300, 200, 1.5), 300) for seed in range(12)]
    assert sum(n is not None for n in found) >= 11


def test_the_most_dependent_feature_can_still_alarm() -> None:
    known = {"mean": reference("mean", [float(n) for n in range(40)])}
    assert known["mean"].r1 == LARGEST_R1
    tracked: dict[str, Tracked] = {}
    for _ in range(60):
        tracked = step(known, tracked, {"mean": 10_000.0}, 1)
    assert alarming(movements(known, tracked), THRESHOLD) == "mean"


def test_parts_count_from_where_the_shift_began() -> None:
    rng = np.random.default_rng(0)
    known = {"mean": reference("mean", [float(v) for v in rng.normal(120, 1, 30)])}
    tracked: dict[str, Tracked] = {}
    for _ in range(50):
        tracked = step(known, tracked, {"mean": 120.0}, 8)
    assert tracked["mean"].parts == 0
    for _ in range(5):
        tracked = step(known, tracked, {"mean": 90.0}, 8)
    assert 24 <= tracked["mean"].parts <= 40


def test_a_feature_that_never_moved_has_a_least_sd() -> None:
    still = reference("clip_high", [0.0] * 30)
    assert (still.mean, still.sd) == (0.0, 1e-3)
    assert still.r1 == pytest.approx(1 / 27)


def test_features_are_the_means_of_a_window() -> None:
    found = features_of(window())
    assert found["mean"] == pytest.approx(LEVELS["mean"], abs=0.01)
    assert found["cell_63"] == pytest.approx(1.0)
    assert len(found) == 16 + 64
    assert scores_of(window(rejects=2)) == {"score": pytest.approx(0.2, abs=1e-3), "rejects": 0.25}
    assert scores_of(window(digest=None)) == {}
