"""What the story promises, each as a fact that the report shows or does not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hil.story.settings import AGEING, STATIONS

Row = dict[str, Any]


@dataclass(frozen=True)
class Fact:
    """One promise, and whether the stored data show it."""

    text: str
    observed: bool


def check_facts(report: Row) -> list[Fact]:
    """Every promise of the story, looked up in `report` (see `report.read_report`)."""
    return [Fact(text, bool(observed)) for text, observed in _facts(report)]


def _facts(report: Row) -> Iterator[tuple[str, bool]]:
    parts, drift = report["parts"], report["drift"]
    stations = parts["stations"].values()
    yield "every station inspected parts", all(row["verdicts"] > 0 for row in stations)
    yield "no part was lost", parts["lost"] == 0
    yield "no part was counted twice", all(row["counted_twice"] == 0 for row in stations)
    yield (
        "everything that the agents recorded is stored",
        all(agent["unacknowledged"] == 0 for agent in report["agents"].values()),
    )
    first = report["bundles"][0]
    yield (
        "the bundle runs on ONNX and LiteRT, in fp32 and int8",
        (first["runtimes"] == ["litert", "onnx"] and first["precision"] == ["fp32", "int8"]),
    )
    approved = [bundle for bundle in report["bundles"] if bundle["state"] == "approved"]
    yield (
        "every approved bundle has two signatures",
        (bool(approved) and all(bundle["signatures"] >= 2 for bundle in approved)),
    )
    yield (
        "the bundle went over MQTT to all stations",
        (report["push"]["bytes"] > 0 and report["push"]["devices"] == sorted(STATIONS)),
    )
    yield (
        f"an incident names {AGEING} and says light",
        ((drift["station"], drift["cause"]) == (AGEING, "light")),
    )
    yield "the other stations stayed quiet", drift["false_alarms"] == 0
    yield from _loop_facts(report)
    yield from _refusal_facts(report)


def _loop_facts(report: Row) -> Iterator[tuple[str, bool]]:
    runs = [run for run in report["runs"] if run["incident"] is not None]
    yield (
        "a training run was started by the incident and done by a worker",
        (len(runs) == 1 and runs[0]["state"] == "succeeded" and bool(runs[0]["leased_by"])),
    )
    yield (
        "it trained on a new dataset version and was compared with the champion",
        (
            len(runs) == 1
            and runs[0]["dataset_parent"] is not None
            and runs[0]["comparison"].get("images") == runs[0]["holdout"]
        ),
    )
    challenger = runs[0]["bundle"] if runs else None
    rollout = next((r for r in report["rollouts"] if r["digest"] == challenger), None)
    stages = [(s["name"], s["decision"]) for s in rollout["stages"]] if rollout else []
    yield (
        "the challenger went through shadow, canary and all",
        (
            stages == [("shadow", "promote"), ("canary", "promote"), ("all", "promote")]
            and rollout is not None
            and rollout["outcome"] == "completed"
        ),
    )
    yield (
        "the canary's decision says guard_only",
        any(
            "guard_only" in stage["text"]
            for stage in (rollout["stages"] if rollout else [])
            if stage["name"] == "canary"
        ),
    )
    yield (
        "every station runs the challenger at the end",
        challenger is not None
        and all(agent["slots"].get("active") == challenger for agent in report["agents"].values()),
    )


def _refusal_facts(report: Row) -> Iterator[tuple[str, bool]]:
    by_class: dict[str, list[Row]] = {}
    for row in report["refused"]:
        by_class.setdefault(row["class"], []).append(row)
    yield "the self-test on the device stopped the wrong channel order", "self_test" in by_class
    device_stopped = {row["digest"] for row in report["refused"] if row["by"] != "gate"}
    yield (
        "a gate took back the wrong channel order whose golden samples agree",
        any(row["digest"] not in device_stopped for row in by_class.get("gate", [])),
    )
    yield "the crashing model was stopped on the device", "crash" in by_class
    yield (
        "the flipped byte was refused, with the block named",
        any("block" in row["reason"] for row in by_class.get("bundle", [])),
    )
    yield (
        "metadata with one signature were refused, with the count named",
        any("1 of 2" in row["reason"] for row in by_class.get("trust", [])),
    )
