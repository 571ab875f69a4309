import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_contract.errors import ContractError
from fleet_contract.inference.accumulate import ShadowAccumulator, WindowAccumulator
from fleet_contract.inference.features import frame_statistics
from fleet_contract.names import Verdict
from fleet_contract.windows import FEATURES, Window

CHAMPION, CANDIDATE = "a" * 64, "b" * 64


def _window(seed: int, frames: int, *, shadow: bool = True) -> Window:
    rng = np.random.default_rng(seed)
    accumulator = WindowAccumulator("line", "cam", CHAMPION, float(seed))
    if shadow:
        accumulator.shadow = ShadowAccumulator(CANDIDATE)
    for number in range(frames):
        frame = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        accumulator.frame(frame_statistics(frame, None))
        verdict = Verdict.REJECT if number % 3 == 0 else Verdict.ACCEPT
        accumulator.verdict(number, verdict, digest=CHAMPION, score=0.5, latency_ms=3.0)
        if accumulator.shadow:
            accumulator.shadow.pair(verdict, Verdict.ACCEPT, -0.1, 4.0, late=False)
    return accumulator.close(seed + 2.0)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 4)), min_size=3, max_size=3))
def test_merging_windows_is_associative_and_commutative(kinds: list[tuple[int, int]]) -> None:
    x, y, z = (_window(seed, frames) for seed, frames in kinds)
    assert x.merge(y) == y.merge(x)
    assert x.merge(y).merge(z) == x.merge(y.merge(z))


def test_a_window_round_trips_and_fits_its_topic() -> None:
    window = _window(1, 10)
    payload = window.encode()
    assert Window.decode(payload) == window
    assert len(payload) < 8_000


def test_a_window_counts_every_part_once() -> None:
    window = _window(2, 10)
    arm = window.arms[CHAMPION]
    assert (arm.parts, arm.rejects, window.first_part, window.last_part) == (10, 4, 0, 9)
    assert window.shadow is not None
    assert (window.shadow.only_active_rejects, window.shadow.both_accept) == (4, 6)


def test_windows_of_another_bundle_are_never_merged() -> None:
    other = _window(1, 2).model_copy(update={"digest": CANDIDATE})
    with pytest.raises(ContractError, match="different keys"):
        _window(1, 2).merge(other)


def test_a_thumbnail_shows_where_the_frame_is_darker() -> None:
    frame = np.full((64, 64, 3), 200, np.uint8)
    frame[:8, :8] = 20
    accumulator = WindowAccumulator("line", "cam", None, 0.0)
    accumulator.frame(frame_statistics(frame, None))
    thumbnail = accumulator.close(1.0).mean_thumbnail()
    assert thumbnail is not None
    assert thumbnail[0, 0] < 0.2 < thumbnail[4, 4]
    assert thumbnail.mean() == pytest.approx(1.0, abs=1e-3)


def test_every_feature_is_measured_and_light_leaves_sharpness_where_it_is() -> None:
    rng = np.random.default_rng(3)
    base = rng.integers(60, 200, (96, 96, 3)).astype(np.float32)
    bright = frame_statistics(base.astype(np.uint8), None).values
    dim = frame_statistics((base * 0.5).astype(np.uint8), None).values
    assert set(bright) == set(FEATURES)
    assert dim["mean"] == pytest.approx(bright["mean"] / 2, rel=0.02)
    assert dim["sharpness"] == pytest.approx(bright["sharpness"], rel=0.05)


def test_a_moved_camera_shows_as_the_shift_in_pixels() -> None:
    rng = np.random.default_rng(4)
    scene = rng.integers(0, 256, (160, 160), dtype=np.uint8)
    first, second = scene[16:144, 16:144], scene[13:141, 11:139]
    reference = frame_statistics(np.ascontiguousarray(first), None).grey
    moved = frame_statistics(np.ascontiguousarray(second), reference).values
    assert moved["shift_x"] == pytest.approx(5, abs=0.5)
    assert moved["shift_y"] == pytest.approx(3, abs=0.5)
    again = frame_statistics(np.ascontiguousarray(first), reference).values
    assert again["shift_x"] == pytest.approx(0, abs=0.1)
