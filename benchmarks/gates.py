"""How often the gates of a rollout are wrong, and how long they take: simulated, by the gates themselves.

    python -m benchmarks.gates [--runs 100] [--seed 1] [--json]

Stations with 30 parts a minute and 2 % rejects try candidates whose truth is known: equal ones on
lines of several kinds, and ones that reject 1.5, 2 and 4 times as many parts.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.support.canaries import (
    Line,
    Outcome,
    Rng,
    try_reviews,
    try_shadow,
    try_share,
    try_stations,
)
from benchmarks.support.program import run
from fleet_server.rollouts.plan import USUAL, Stage

LINES = {
    "even": Line(),
    "stations differ": Line(spread=0.5),
    "shifts": Line(shifts=0.7),
    "bursts": Line(bursts=0.7),
    "all of it": Line(spread=0.5, shifts=0.5, bursts=0.5),
}
_HOURS = 8
_EVERY = 5
"""Minutes between looks of long runs."""
_REVIEWS = 400
_NEVER = 10**9
_LONG = 2000
"""Pairs of a shadow that is to see what a line with few rejects hides."""
Row = dict[str, Any]
Trial = Callable[[Rng], Outcome]


def unpromoted(share: float = 1.0, hours: float = 1) -> Stage:
    """The default canary, but that nothing promotes it: the most looks that its guard may take."""
    return Stage(
        name="canary", share=share, min_parts=_NEVER, horizon_s=3600 * hours, inconclusive="pause"
    )


def equal() -> dict[str, Trial]:
    """Candidates as good as the active bundle: each roll back is wrong."""
    trials: dict[str, Trial] = {}
    for name, line in LINES.items():
        one, eight = replace(line, stations=1), replace(line, stations=8)
        trials |= {
            f"{name}, 25 % of one": partial(try_share, one, unpromoted(0.25)),
            f"{name}, 1 of 3": partial(try_stations, line, unpromoted(), 1),
            f"{name}, 1 alone": partial(try_stations, one, unpromoted(), 1),
            f"{name}, 4 of 8": partial(try_stations, eight, unpromoted(), 4),
        }
    return trials


def worse() -> dict[str, Trial]:
    """Candidates that reject more, watched for eight hours."""
    trials: dict[str, Trial] = {}
    for ratio in (1.5, 2.0, 4.0):
        one, line = Line(stations=1, ratio=ratio), Line(ratio=ratio)
        for share in (0.05, 0.25):
            stage = unpromoted(share, _HOURS)
            name = f"{ratio:g} times, {100 * share:g} % of one"
            trials[name] = partial(try_share, one, stage, every=_EVERY)
        trials[f"{ratio:g} times, 1 of 3"] = partial(
            try_stations, line, unpromoted(hours=_HOURS), 1, every=_EVERY
        )
    return trials


def planned() -> dict[str, Trial]:
    """Each stage of the default plan for itself, and the test of equality, as they are promoted."""
    shadow, *canaries = (
        stage.model_copy(update={"inconclusive": "pause"}) for stage in USUAL.stages[:-1]
    )
    long = shadow.model_copy(update={"min_parts": _LONG})
    eight = Stage(name="canary", devices=4, inconclusive="pause")
    trials: dict[str, Trial] = {}
    for ratio in (0.0, 1.0, 2.0, 4.0):
        line = Line(ratio=ratio)
        one = replace(line, stations=1)
        trials[f"{ratio:g} times, shadow"] = partial(try_shadow, line, shadow)
        trials[f"{ratio:g} times, shadow of {_LONG}"] = partial(try_shadow, line, long)
        for stage in canaries[:-1]:
            trials[f"{ratio:g} times, {stage.title}"] = partial(try_share, one, stage)
        trials[f"{ratio:g} times, canary"] = partial(try_stations, line, canaries[-1], 1)
        trials[f"{ratio:g} times, 4 of 8"] = partial(
            try_stations, replace(line, stations=8), eight, 4
        )
    return trials


def shadows() -> dict[str, Trial]:
    """Shadows: without labels at the edge of what may be and beyond, and with people's reviews."""
    stage = Stage(name="shadow", min_parts=_NEVER, inconclusive="pause")
    quick = Stage(name="shadow", inconclusive="pause")
    apart = Line(rejects=0.2, apart=0.6)
    trials: dict[str, Trial] = {
        "late on half": partial(try_shadow, Line(stations=1), stage, late=0.5),
        "late on 60 %": partial(try_shadow, Line(stations=1), stage, late=0.6),
        "disagree on 24 %": partial(try_shadow, apart, quick),
        "disagree on 26 %": partial(try_shadow, replace(apart, apart=0.65), quick),
    }
    for right in (0.5, 0.6, 0.7, 0.8):
        trials[f"reviews {right:.0%}"] = partial(try_reviews, right, _REVIEWS, quick)
    return trials


def measured(trial: Trial, runs: int, seed: int) -> Row:
    """How runs ended, as shares; parts of the candidate and minutes until then, in the median.

    Each run draws for itself, so that a row is the same whichever others are asked for.
    """
    done = [trial(np.random.default_rng([seed, index])) for index in range(runs)]
    ends = [outcome.end for outcome in done]
    within = sum(o.end == "roll_back" and o.minutes <= 60 for o in done)
    return {
        **{end: ends.count(end) / runs for end in ("roll_back", "promote", "undecided")},
        "rolled_back_in_an_hour": within / runs,
        "median_parts": _median(done, "parts"),
        "median_minutes": _median(done, "minutes"),
    }


def _median(done: list[Outcome], what: str) -> float | None:
    """None where half of the runs were not decided."""
    taken = [math.inf if one.end == "undecided" else getattr(one, what) for one in done]
    middle = float(np.median(taken))
    return middle if math.isfinite(middle) else None


def summary(rows: dict[str, Row]) -> dict[str, Any]:
    """The figures that stand for all: the worst wrong roll back, and typical times."""
    bursty = [name for name in equal() if name.startswith(("bursts", "all of it"))]
    steady = equal().keys() - set(bursty)
    return {
        "type1": max(rows[name]["roll_back"] for name in steady),
        "type1_bursts": max(rows[name]["roll_back"] for name in bursty),
        "type1_share": max(rows[name]["roll_back"] for name in equal() if "%" in name),
        "median_parts_rr2": rows["2 times, 25 % of one"]["median_parts"],
        "shadow_median_reviews": rows["reviews 80%"]["median_parts"],
        "shadow_wrong_reviews": rows["reviews 50%"]["roll_back"],
        "rows": rows,
    }


def main(
    runs: Annotated[int, typer.Option(min=2, help="Of each kind.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed draws the same.")] = 1,
    only: Annotated[str, typer.Option(help="Only kinds whose name holds this.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, last.")] = False,
) -> None:
    """Simulate, and print one line for each kind of line, candidate and stage."""
    start, rows = time.monotonic(), {}
    for name, trial in (equal() | worse() | planned() | shadows()).items():
        if only in name:
            rows[name] = measured(trial, runs, seed)
            typer.echo(_told(name, rows[name]))
    result = {"runs": runs, "seed": seed, "seconds": round(time.monotonic() - start, 1)}
    if not only:
        result |= summary(rows)
    if as_json:
        typer.echo(json.dumps(result))


def _told(name: str, row: Row) -> str:
    ends = f"{row['roll_back']:7.1%} back {row['promote']:7.1%} on {row['undecided']:7.1%} open"
    hour = f"{row['rolled_back_in_an_hour']:7.1%} back in an hour"
    parts, minutes = row["median_parts"], row["median_minutes"]
    taken = f"median {parts:.0f} parts, {minutes:.0f} min" if parts else "no median"
    return f"{name:28} {ends} {hour}  {taken}"


if __name__ == "__main__":
    run(main)
