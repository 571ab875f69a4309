"""What a trainer measured, as tables: the evaluation of a bundle, and its comparison with the champion."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet_server.console import words
from fleet_server.console.show import Badge, Fact, Tone, number, percent, plain, size

Report = Mapping[str, Any]
"""`evaluation.json` of a bundle: one model's figures on top, each model's under `models`."""

_OUTCOMES: Mapping[str, Tone] = {
    "better": "ok", "not_worse": "info", "undecided": "warn", "worse": "bad"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A table with a row per `runtime/precision`, and what is said of all."""

    note: str
    columns: list[str]
    rows: list[list[str]]
    facts: list[Fact]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Challenger and champion on the same holdout."""

    outcome: Badge
    why: str
    facts: list[Fact]


def comparison(content: Report) -> Comparison | None:
    """None where nothing was compared."""
    if not content:
        return None
    outcome = str(content.get("outcome", "compared"))
    rest = {name: value for name, value in content.items() if name not in ("outcome", "why")}
    return Comparison(
        outcome=Badge(plain(outcome), _OUTCOMES.get(outcome, "idle")),
        why=str(content.get("why", "")),
        facts=[Fact(*pair) for pair in words.flatten(rest)],
    )


def evaluation(report: Report) -> Evaluation:
    """The report of a bundle."""
    models = _models(report)
    filled = [
        (title, show) for title, show in _COLUMNS if any(show(model) for model in models.values())
    ]
    rows = [[name, *(show(model) for _, show in filled)] for name, model in sorted(models.items())]
    return Evaluation(
        _note(report), ["Runtime", *(title for title, _ in filled)], rows, _facts(report)
    )


def _models(report: Report) -> dict[str, Report]:
    """Figures by `runtime/precision`; an int8 model bears the flips of its runtime."""
    flips = report.get("flips", {})
    found: dict[str, Report] = {}
    for name, figures in report.get("models", {}).items():
        runtime, _, precision = name.partition("/")
        flipped = flips.get(runtime) if precision == "int8" else None
        found[name] = {**figures, "flips": flipped}
    return found


def _note(report: Report) -> str:
    if "images" not in report:
        return "Measured by the trainer on the frozen holdout."
    images, parts = number(report["images"]), number(report.get("parts"))
    return (
        f"Measured by the trainer on the frozen holdout: {images} images of {parts} parts, "
        f"threshold {number(report.get('threshold'))}. Intervals are exact, at 95 %; flips are verdicts that int8 gives otherwise than fp32."
    )


def _facts(report: Report) -> list[Fact]:
    facts = []
    worst = report.get("worst_slice")
    if isinstance(worst, Mapping):
        where = f"{plain(str(worst['slice']))} {plain(str(worst['value']))}"
        facts.append(Fact("Worst slice", f"{where}, AUROC {worst['image_auroc']:.4f}"))
    for kind, value in dict(report.get("defects") or {}).items():
        facts.append(Fact(f"AUROC on {plain(kind)}", f"{value:.4f}"))
    return facts


def _measure(name: str) -> Callable[[Report], str]:
    return lambda report: f"{report[name]:.4f}" if isinstance(report.get(name), float) else ""


def _share(name: str) -> Callable[[Report], str]:
    """A rate and its interval."""

    def show(report: Report) -> str:
        rate = report.get(name)
        if not isinstance(rate, Mapping) or rate.get("rate") is None:
            return ""
        return f"{percent(rate['rate'])} ({percent(rate['low'])} to {percent(rate['high'])})"

    return show


def _latency(report: Report) -> str:
    latency = report.get("latency_ms")
    if not isinstance(latency, Mapping):
        return ""
    return f"{latency['p50']:.1f} ms, 99 % within {latency['p99']:.1f} ms"


def _size(report: Report) -> str:
    count = report.get("size_bytes")
    return size(count) if isinstance(count, int) else ""


_COLUMNS: tuple[tuple[str, Callable[[Report], str]], ...] = (
    ("AUROC", _measure("image_auroc")),
    ("Image AP", _measure("image_ap")),
    ("F1", _measure("f1")),
    ("Pixel AP", _measure("pixel_ap")),
    ("Escape", _share("escape")),
    ("Overkill", _share("overkill")),
    ("Flips", _share("flips")),
    ("Latency", _latency),
    ("Size", _size),
)
"""Columns of the table; one that no model fills is left out."""
