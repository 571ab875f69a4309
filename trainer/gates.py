"""What a line asks of a bundle: limits on measured figures. A bundle that misses one is not released.

A figure that could not be measured does not pass: nothing is promised on no data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.config import GatesTable

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One limit and what was measured."""

    name: str
    """The key below [gates]."""
    limit: float
    value: float | None
    passed: bool
    why: str

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return {"name": self.name, "limit": self.limit, "value": self.value,
                "passed": self.passed, "why": self.why}  # fmt: skip


def check(report: Report, table: GatesTable) -> dict[str, Any]:
    """`passed`, and `checks` of every gate that is set, of an evaluation."""
    found = {
        "max_flips": _flips,
        "min_auroc": _auroc,
        "min_worst_slice_auroc": _worst_slice,
        "max_latency_ms": _latency,
        "max_memory_mb": _memory,
        "max_size_mb": _size,
        "max_bias": _bias,
    }
    limits = {name: getattr(table, name) for name in found}
    checks = [
        rule(report, limits[name]) for name, rule in found.items() if limits[name] is not None
    ]
    return {"passed": all(one.passed for one in checks), "checks": [c.to_json() for c in checks]}


def limits_of(report: Report) -> GatesTable | None:
    """The gates that an evaluation was checked with; None where it was not."""
    checks = report.get("gates", {}).get("checks", [])
    known = {c["name"]: c["limit"] for c in checks if c["name"] in GatesTable.model_fields}
    return GatesTable.model_validate(known) if known else None


def failed(report: Report) -> list[str]:
    """`name: why` of every check that did not pass."""
    checks = report.get("gates", {}).get("checks", [])
    return [f"{one['name']}: {one['why']}" for one in checks if not one["passed"]]


def _least(name: str, limit: float, value: float | None, what: str) -> Check:
    if value is None:
        return Check(name, limit, None, False, f"{what} could not be measured")
    sign = "is at least" if value >= limit else "is below"
    return Check(name, limit, value, value >= limit, f"{what} {value:.4f} {sign} {limit:g}")


def _most(name: str, limit: float, value: float | None, what: str, unit: str = "") -> Check:
    if value is None:
        return Check(name, limit, None, False, f"{what} could not be measured")
    sign = "is within" if value <= limit else "is above"
    return Check(
        name, limit, value, value <= limit, f"{what} {value:.4g}{unit} {sign} {limit:g}{unit}"
    )


def _flips(report: Report, limit: float) -> Check:
    rates = {k: r["rate"] for k, r in report["flips"].items() if r["rate"] is not None}
    worst = max(rates, key=lambda key: rates[key], default=None)
    what = "the share of verdicts that int8 changes" + (f" on {worst}" if worst else "")
    return _most("max_flips", limit, rates[worst] if worst else None, what)


def _auroc(report: Report, limit: float) -> Check:
    return _least("min_auroc", limit, report["image_auroc"], "the image AUROC")


def _worst_slice(report: Report, limit: float) -> Check:
    worst = report["worst_slice"]
    if worst is None:
        why = "no slice has five good and five defective images"
        return Check("min_worst_slice_auroc", limit, None, False, why)
    what = f"the image AUROC at {worst['slice']} {worst['value']} ({worst['n']} images)"
    return _least("min_worst_slice_auroc", limit, worst["image_auroc"], what)


def _latency(report: Report, limit: float) -> Check:
    what = f"the 99th percentile of the latency of {report['model']}"
    return _most("max_latency_ms", limit, report["latency_ms"]["p99"], what, " ms")


def _memory(report: Report, limit: float) -> Check:
    what = f"the memory of {report['model']}"
    return _most("max_memory_mb", limit, report["memory_mb"], what, " MB")


def _size(report: Report, limit: float) -> Check:
    what = f"the size of {report['model']}"
    return _most("max_size_mb", limit, report["size_bytes"] / 1e6, what, " MB")


def _bias(report: Report, limit: float) -> Check:
    """Fails on a difference above the limit that chance does not explain."""
    name, biases = "max_bias", report["bias"]
    if not biases:
        why = "no slice column has two values of five images each"
        return Check(name, limit, None, False, why)
    told = [one for one in biases if one["told_from_chance"]]
    largest = max(told or biases, key=lambda one: one["difference"])
    value = float(largest["difference"])
    span = (
        f"{largest['measure']} at {largest['slice']} {largest['higher']} is {value:.3f} "
        f"({largest['low']:.3f} to {largest['high']:.3f}) above that at {largest['lower']}"
    )
    if not told:
        return Check(name, limit, value, True, f"{span}, which may be chance")
    return Check(name, limit, value, value <= limit, span)
