import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_contract.units import parse_bytes, parse_hertz, parse_rate, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("2s", 2), ("1.5 min", 90), ("1h", 3600), ("7d", 604800)]
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


def test_sizes_and_rates_are_bytes_and_hertz() -> None:
    assert (parse_bytes("10MB"), parse_bytes("2KiB"), parse_hertz("4Hz")) == (10_000_000, 2048, 4.0)


def test_rates_of_a_link_are_bytes_a_second() -> None:
    assert [parse_rate(text) for text in ("200kB/s", "1.5MB/s", "2Mbit/s")] == [
        200_000, 1_500_000, 250_000,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="kbit/s"):
        parse_rate("200kB")


@pytest.mark.parametrize("text", ["", "5", "5 sec", "-1s", "s", "1,5s", 5, None, "5S"])
def test_a_missing_or_wrong_unit_names_the_right_ones(text: object) -> None:
    with pytest.raises(ValueError, match="ms, s, min, h, d"):
        parse_seconds(text)


@given(st.text(max_size=20))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_seconds(text) >= 0
