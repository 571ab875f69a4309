"""What sets two runs apart: in what went in, and in what came out."""

from typing import Any

from trainer.runs.record import Record
from trainer.runs.values import flat


def differences(first: Record, second: Record) -> dict[str, Any]:
    """As JSON values: `inputs` and `results` by name, each with what either run has.

    `inputs` holds what differs only: keys of the configuration, data set, code, processor, versions
    of packages. `comparable` is false where they were measured on other data.
    """
    one, other = _inputs(first), _inputs(second)
    inputs = {
        name: [one.get(name), other.get(name)]
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    }
    names = [*first.results, *(name for name in second.results if name not in first.results)]
    return {
        "runs": [first.id, second.id],
        "outcomes": [first.outcome, second.outcome],
        "comparable": first.dataset == second.dataset and first.order.smoke == second.order.smoke,
        "inputs": inputs,
        "results": {name: _result(first.results.get(name), second.results.get(name)) for name in names},
    }  # fmt: skip


def _inputs(record: Record) -> dict[str, Any]:
    return {
        **flat(record.config),
        "dataset": record.dataset,
        "code": record.code,
        "smoke": record.order.smoke,
        "champion": record.lineage.champion,
        "hardware.processor": record.hardware.processor,
        "hardware.cores": record.hardware.cores,
        **{f"package.{name}": version for name, version in record.environment.items()},
    }


def _result(first: Any, second: Any) -> dict[str, Any]:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (first, second))
    return {"values": [first, second], "difference": second - first if numbers else None}
