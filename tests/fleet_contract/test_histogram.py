import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_contract.errors import ContractError
from fleet_contract.histogram import SPECS, Histogram, HistogramMessage

NAMES = st.sampled_from(sorted(SPECS))
VALUES = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30)


def _same(left: Histogram, right: Histogram) -> bool:
    return left.to_message() == right.to_message()


@given(NAMES, VALUES, VALUES, VALUES)
def test_merging_is_exactly_associative_and_commutative(
    spec: str, a: list[float], b: list[float], c: list[float]
) -> None:
    x, y, z = (Histogram.of(spec, values) for values in (a, b, c))
    assert _same(x.merge(y), y.merge(x))
    assert _same(x.merge(y).merge(z), x.merge(y.merge(z)))


@given(NAMES, VALUES)
def test_the_wire_form_gives_the_histogram_back(spec: str, values: list[float]) -> None:
    histogram = Histogram.of(spec, values)
    message = HistogramMessage.decode(histogram.to_message().encode())
    assert _same(message.histogram(), histogram)


@given(NAMES, VALUES)
def test_every_value_is_counted_once(spec: str, values: list[float]) -> None:
    histogram = Histogram.of(spec, values)
    assert histogram.finite + histogram.non_finite == len(values)


def test_moments_equal_numpys_within_the_fixed_point() -> None:
    values = np.random.default_rng(0).normal(120, 20, 500).clip(0, 255)
    histogram = Histogram.of("mean/1", values)
    assert histogram.mean() == pytest.approx(values.mean(), abs=1e-3)
    assert histogram.std() == pytest.approx(values.std(), abs=1e-3)


def test_lag_one_autocorrelation_is_found() -> None:
    rng = np.random.default_rng(1)
    level, values = 0.0, []
    for noise in rng.normal(0, 1, 5000):
        level = 0.8 * level + noise
        values.append(128 + 5 * level)
    lag1 = Histogram.of("mean/1", values).lag1()
    assert lag1 == pytest.approx(0.8, abs=0.03)


def test_a_value_on_the_upper_bound_is_no_overflow() -> None:
    histogram = Histogram.of("mean/1", [255.0, 255.1, -0.1])
    assert (histogram.counts[63], histogram.over, histogram.under) == (1, 1, 1)


def test_exact_zeros_are_counted_apart_where_the_spec_says_so() -> None:
    histogram = Histogram.of("clip_low/1", [0.0, 0.0, 0.5])
    assert (histogram.zeros, int(histogram.counts.sum())) == (2, 1)


def test_histograms_of_different_bins_are_never_merged() -> None:
    with pytest.raises(ContractError, match="different bins"):
        Histogram.empty("mean/1").merge(Histogram.empty("std/1"))


def test_an_unknown_spec_is_refused() -> None:
    with pytest.raises(ContractError, match="no bin specification"):
        HistogramMessage(spec="mean/99", counts="").histogram()


@pytest.mark.parametrize(
    "counts",
    [
        "not base64 !",
        base64.b64encode(b"not zlib").decode(),
        base64.b64encode(zlib.compress(b"\0" * 255)).decode(),
        base64.b64encode(zlib.compress(b"\0" * 10**6)).decode(),
    ],
    ids=["no-base64", "no-zlib", "short", "bomb"],
)
def test_counts_that_are_not_64_numbers_are_refused(counts: str) -> None:
    with pytest.raises(ContractError):
        HistogramMessage(spec="mean/1", counts=counts[:1024]).histogram()
