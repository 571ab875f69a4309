"""What a line asks of a bundle."""

from typing import Any

import pytest

from fleet_contract.errors import ConfigError
from trainer.config import GatesTable, parse_config
from trainer.gates import check, failed, limits_of

BIAS = {"slice": "site", "measure": "overkill", "higher": "north", "lower": "south",
        "difference": 0.2, "low": 0.05, "high": 0.35, "told_from_chance": True}  # fmt: skip
REPORT: dict[str, Any] = {
    "model": "onnx/int8",
    "image_auroc": 0.95,
    "worst_slice": {"slice": "exposure", "value": "1", "n": 60, "image_auroc": 0.9},
    "flips": {"onnx": {"count": 1, "trials": 100, "rate": 0.01},
              "litert": {"count": 4, "trials": 100, "rate": 0.04}},
    "latency_ms": {"p50": 8.0, "p99": 12.0},
    "memory_mb": 30.0,
    "size_bytes": 500_000,
    "bias": [BIAS],
}  # fmt: skip


def only(name: str, limit: float, **changes: Any) -> dict[str, Any]:
    """The check of one gate."""
    checks = check({**REPORT, **changes}, GatesTable(**{name: limit}))["checks"]
    return next(one for one in checks if one["name"] == name)


@pytest.mark.parametrize(
    ("name", "kept", "missed", "value"),
    [
        ("max_flips", 0.04, 0.03, 0.04),
        ("min_auroc", 0.95, 0.96, 0.95),
        ("min_worst_slice_auroc", 0.9, 0.91, 0.9),
        ("max_latency_ms", 12, 11, 12.0),
        ("max_memory_mb", 30, 29, 30.0),
        ("max_size_mb", 0.5, 0.4, 0.5),
        ("max_bias", 0.2, 0.1, 0.2),
    ],
)
def test_a_limit_is_kept_at_the_limit_and_missed_beyond_it(
    name: str, kept: float, missed: float, value: float
) -> None:
    assert only(name, kept)["passed"]
    found = only(name, missed)
    assert not found["passed"]
    assert (found["value"], found["limit"]) == (value, missed)
    assert found["why"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("max_flips", {"flips": {}}),
        ("min_auroc", {"image_auroc": None}),
        ("min_worst_slice_auroc", {"worst_slice": None}),
        ("max_latency_ms", {"latency_ms": {"p50": None, "p99": None}}),
        ("max_memory_mb", {"memory_mb": None}),
        ("max_bias", {"bias": []}),
    ],
)
def test_what_could_not_be_measured_does_not_pass(name: str, changes: dict[str, Any]) -> None:
    found = only(name, 0.5, **changes)
    assert (found["passed"], found["value"]) == (False, None)


def test_a_difference_that_chance_explains_is_no_bias() -> None:
    found = only("max_bias", 0.1, bias=[{**BIAS, "low": -0.1, "told_from_chance": False}])
    assert found["passed"]
    assert "may be chance" in found["why"]


def test_a_small_bias_that_is_sure_is_not_hidden_by_a_large_one_that_is_not() -> None:
    unsure = {**BIAS, "slice": "camera", "difference": 0.4, "told_from_chance": False}
    assert not only("max_bias", 0.1, bias=[unsure, BIAS])["passed"]
    assert only("max_bias", 0.3, bias=[unsure, BIAS])["passed"]


def test_only_gates_that_are_set_are_checked() -> None:
    found = check(REPORT, GatesTable())
    assert [one["name"] for one in found["checks"]] == ["max_flips"]
    assert found["passed"]


def test_one_that_fails_fails_all_and_is_named() -> None:
    gates = check(REPORT, GatesTable(min_auroc=0.99, max_latency_ms=20))
    assert not gates["passed"]
    assert failed({"gates": gates}) == ["min_auroc: the image AUROC 0.9500 is below 0.99"]
    assert failed({}) == []


def test_the_limits_can_be_read_back_from_an_evaluation() -> None:
    table = GatesTable(min_auroc=0.9, max_bias=0.2, max_flips=0.01)
    gates = check(REPORT, table)
    # A check of another kind stands beside, such as that of a training on a sample.
    gates["checks"].append({"name": "smoke", "limit": "all parts", "passed": False})
    assert limits_of({"gates": gates}) == table
    assert limits_of({}) is None


def test_a_gate_is_a_number_or_off() -> None:
    text = '[line]\nname = "a"\n[gates]\nmin_auroc = {}\n'
    assert parse_config(text.format('"off"'), "x").gates.min_auroc is None
    assert parse_config(text.format("0.9"), "x").gates.min_auroc == 0.9
    with pytest.raises(ConfigError, match=r"gates\.min_auroc"):
        parse_config(text.format('"none"'), "x")
    with pytest.raises(ConfigError, match=r"gates\.min_auroc"):
        parse_config(text.format("90"), "x")
