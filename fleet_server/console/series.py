"""From stored windows (`Window` as JSON) to the series that charts show. Pure functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fleet_contract.histogram import HistogramMessage
from fleet_contract.windows import THUMBNAIL_SIDE
from fleet_server.console.show import Chart

Body = Mapping[str, Any]
"""The JSON of a `fleet_contract.windows.Window`."""

CELL = 8
"""Side of a thumbnail's cell in the picture's own units."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a drawn thumbnail."""

    x: int
    y: int
    fill: str
    title: str


def place(body: Body) -> tuple[str, str]:
    """Camera (or view) and recipe of a window; those of earlier agents have none."""
    return body["camera"], body.get("recipe", "")


def one_place(bodies: Sequence[Body]) -> list[Body]:
    """Of windows in order of time, those of the place that counted the last parts.

    Cameras and recipes have statistics of their own: one line through all of them says nothing.
    """
    counting = [body for body in bodies if body["arms"] or body["undecided"]["parts"]]
    last = (counting or list(bodies))[-1:]
    return [body for body in bodies if place(body) == place(last[0])]


def feature_mean(body: Body, name: str) -> float | None:
    """Mean of a feature in the window; None where it has none."""
    message = body["features"].get(name)
    return _mean(message) if message else None


def score_mean(body: Body) -> float | None:
    """Mean score of the active bundle."""
    return _mean(body["score"])


def latency_mean(body: Body) -> float | None:
    """Mean latency in ms."""
    return _mean(body["latency_ms"])


def reject_share(body: Body) -> float | None:
    """Share of rejects among the parts that bundles judged, in per cent; None without parts."""
    arms = list(body["arms"].values())
    parts = sum(arm["parts"] for arm in arms)
    return 100 * sum(arm["rejects"] for arm in arms) / parts if parts else None


def undecided_share(body: Body) -> float | None:
    """Share of parts without a decision, in per cent; None without parts."""
    counted = [*body["arms"].values(), body["undecided"]]
    parts = sum(arm["parts"] for arm in counted)
    return 100 * sum(arm["no_decision"] for arm in counted) / parts if parts else None


def _mean(message: Mapping[str, Any]) -> float | None:
    return HistogramMessage.model_validate(message).histogram().mean()


CHARTS: tuple[tuple[str, str, Callable[[Body], float | None]], ...] = (
    ("mean", "Mean grey", lambda body: feature_mean(body, "mean")),
    ("sharpness", "Sharpness", lambda body: feature_mean(body, "sharpness")),
    ("score", "Mean score", score_mean),
    ("", "Rejects in per cent", reject_share),
    ("", "No decision in per cent", undecided_share),
    ("", "Latency in ms", latency_mean),
)
"""(feature of the baseline or nothing, label, value of a window) of each chart."""


def charts(bodies: Sequence[Body], baseline: Mapping[str, Sequence[float]]) -> list[Chart]:
    """The charts of windows in order of time.

    `baseline` holds per feature [mean, standard deviation, ...] of its window means.
    """
    if not bodies:
        return []
    times = [float(body["end_s"]) for body in bodies]
    holes = _holes(bodies)
    marks = tuple(
        float(after["start_s"])
        for before, after in pairwise(bodies)
        if before["digest"] != after["digest"]
    )
    made = []
    for feature, label, value in CHARTS:
        low, high = band(baseline.get(feature))
        values = [value(body) for body in bodies]
        x, y = _with_holes(times, values, holes)
        made.append(Chart(label, x, y, low, high, marks))
    return made


def _holes(bodies: Sequence[Body]) -> list[int]:
    """Positions before which windows are missing: a line must not be drawn across."""
    spans = [body["end_s"] - body["start_s"] for body in bodies]
    longest = 3 * max(spans)
    return [
        index
        for index, (before, after) in enumerate(pairwise(bodies), 1)
        if after["start_s"] - before["end_s"] > longest
    ]


def _with_holes(
    times: Sequence[float], values: Sequence[float | None], holes: Sequence[int]
) -> tuple[list[float], list[float | None]]:
    x, y = list(times), list(values)
    for index in reversed(holes):
        x.insert(index, (times[index - 1] + times[index]) / 2)
        y.insert(index, None)
    return x, y


def band(statistics: Sequence[float] | None) -> tuple[float | None, float | None]:
    """Mean minus and plus two standard deviations."""
    if not statistics:
        return None, None
    mean, deviation = statistics[0], statistics[1]
    return mean - 2 * deviation, mean + 2 * deviation


def mean_thumbnail(bodies: Sequence[Body]) -> list[float] | None:
    """64 cells with mean 1 over all windows that carry frames; None without any."""
    told = [body for body in bodies if body["sampled_frames"] and len(body["thumbnail"]) == 64]
    if not told:
        return None
    total = np.sum([np.array(body["thumbnail"], np.float64) for body in told], axis=0)
    return [float(cell) for cell in total / (1000 * sum(body["sampled_frames"] for body in told))]


def grey_cells(values: Sequence[float]) -> list[Cell]:
    """Cells drawn as greys from the darkest to the brightest."""
    low, high = min(values), max(values)
    spread = (high - low) or 1.0
    return [
        _cell(index, (round(30 + 215 * (value - low) / spread),) * 3, f"{value:.2f}")
        for index, value in enumerate(values)
    ]


def change_cells(values: Sequence[float], baseline: Sequence[float]) -> tuple[list[Cell], float]:
    """Cells drawn by their relative change, and the change that is drawn in full colour.

    Blue is darker than the baseline, orange brighter; full colour is 5 % or the largest change.
    """
    changes = [now / max(then, 1e-6) - 1 for now, then in zip(values, baseline, strict=True)]
    full = max(0.05, max(abs(change) for change in changes))
    cells = [
        _cell(index, _diverging(change / full), f"{100 * change:+.1f} %")
        for index, change in enumerate(changes)
    ]
    return cells, full


def _diverging(share: float) -> tuple[int, int, int]:
    end = (201, 100, 20) if share > 0 else (36, 98, 178)
    weight = min(abs(share), 1.0)
    red, green, blue = (round(232 + (value - 232) * weight) for value in end)
    return red, green, blue


def _cell(index: int, colour: tuple[int, ...], title: str) -> Cell:
    row, column = divmod(index, THUMBNAIL_SIDE)
    red, green, blue = colour
    return Cell(CELL * column, CELL * row, f"#{red:02x}{green:02x}{blue:02x}", title)
