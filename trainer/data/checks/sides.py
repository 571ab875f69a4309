"""The two sides of the split: apart, large enough, and alike."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fleet_contract.dataset import GOOD
from trainer.data.checks.finding import Evidence, Finding, counted, found
from trainer.data.scan import ImageFacts
from trainer.measures import exact_rate

WIDE_ESCAPE, WIDE_CLASS, WIDE_OVERKILL = 0.3, 0.5, 0.1
"""Upper end of an exact 95 % interval without a single miss, from which an estimate says little."""
_FEW_TRAINED = 5
_LEAST_PARTS = 5
"""On each side, for two samples to be compared."""
_SIGNIFICANT = 0.05
_MEDIUM_EFFECT = 0.33
"""Cliff's delta (1993) from which a difference is called medium (Romano and others, 2006)."""
_QUANTITIES: dict[str, Callable[[ImageFacts], float]] = {
    "mean grey level": lambda image: image.mean,
    "contrast": lambda image: image.contrast,
    "sharpness": lambda image: image.sharpness,
    "width": lambda image: image.width,
    "height": lambda image: image.height,
}


def check_apart(evidence: Evidence) -> list[Finding]:
    """Parts on both sides."""
    sides: dict[str, set[str]] = defaultdict(set)
    for item in evidence.version.items:
        sides[item.group].add(item.split)
    both = sorted(group for group, on in sides.items() if len(on) > 1)
    return found("error", "part-on-both-sides",
                 f"{counted(len(both), 'part stands', 'parts stand')} on both sides", both,
                 "Split again by part: `loupe-trainer split VERSION`.")  # fmt: skip


def check_enough(evidence: Evidence) -> list[Finding]:
    """Classes with too few parts to learn, or for what is measured of them to say much."""
    parts = _parts(evidence)
    held = {label: len(sides["holdout"]) for label, sides in parts.items()}
    trained = {label: len(sides["train"]) for label, sides in parts.items()}
    defects = [label for label in sorted(parts) if label != GOOD]
    wide = [label for label in defects if exact_rate(0, held[label]).high > WIDE_CLASS]
    few = [label for label in defects if 0 < trained[label] < _FEW_TRAINED]
    defective: set[str] = set().union(*(parts[label]["holdout"] for label in defects))
    return [
        *_wide("too-few-good", GOOD, held.get(GOOD, 0), WIDE_OVERKILL, "overkill"),
        *(_wide("too-few-defective", "defective", len(defective), WIDE_ESCAPE, "escape")
          if defects else []),
        *found("warning", "too-few-of-class",
               "few parts held out by class; without a single miss the escape rate is still 0 to "
               + ", ".join(f"{exact_rate(0, held[label]).high:.0%} ({label}, {held[label]})"
                           for label in wide), wide,
               f"Hold out {_needed(WIDE_CLASS)} of each or more to say at most {WIDE_CLASS:.0%}."),
        *found("warning", "too-few-to-learn",
               "few parts to learn from: "
               + ", ".join(f"{trained[label]} of {label}" for label in few), few,
               "Label more of them."),
    ]  # fmt: skip


def _wide(check: str, which: str, count: int, limit: float, rate: str) -> list[Finding]:
    high = exact_rate(0, count).high
    what = (
        f"{counted(count, f'{which} part', f'{which} parts')} held out: without a single miss the "
        f"{rate} rate is still 0 to {high:.0%}"
        if count
        else f"no {which} part is held out: the {rate} rate cannot be measured"
    )
    return found("warning", check, what, [which] if high > limit else [],
                 f"Hold out {_needed(limit)} or more to say at most {limit:.0%}.")  # fmt: skip


def _needed(limit: float) -> int:
    """How many parts without a miss bring the interval's upper end down to `limit`."""
    return next(n for n in range(1, 10_000) if exact_rate(0, n).high <= limit)


def _parts(evidence: Evidence) -> dict[str, dict[str, set[str]]]:
    """Class, side -> parts."""
    parts: dict[str, dict[str, set[str]]] = defaultdict(lambda: {"train": set(), "holdout": set()})
    for item in evidence.version.items:
        parts[item.label][item.split].add(item.group)
    return parts


def check_alike_sides(evidence: Evidence) -> list[Finding]:
    """Light, texture or size that differ between the sides.

    By part, its images averaged; Mann and Whitney's test (1947) with Holm's correction (1979) over
    the quantities, and Cliff's delta for the size of the effect.
    """
    tests = {name: two for name, of in _QUANTITIES.items() if (two := _two_sides(evidence, of))}
    p_values = {name: float(stats.mannwhitneyu(*two).pvalue) for name, two in tests.items()}
    findings = []
    for name, p_value in holm(p_values).items():
        if p_value >= _SIGNIFICANT:
            continue
        train, holdout = tests[name]
        delta = cliffs_delta(holdout, train)
        middle = [f"{np.median(side):.4g}" for side in (train, holdout)]
        findings += found(
            "warning" if abs(delta) >= _MEDIUM_EFFECT else "note", "sides-differ",
            f"{name} differs between the sides: median {middle[0]} in training, {middle[1]} held out "
            f"(Cliff's delta {delta:+.2f}, p {p_value:.2g} after Holm)", [name],
            "Name what differs as a slice (--slice), so that the split is balanced over it, or split "
            "with another seed.",
        )  # fmt: skip
    return findings


def _two_sides(
    evidence: Evidence, of: Callable[[ImageFacts], float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """A quantity of the parts in training and of those held out; None where there are few, or all are equal."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in evidence.readable:
        values[one.item.split, one.item.group].append(of(one.image))
    means = {key: float(np.mean(found)) for key, found in values.items()}
    train, holdout = (
        np.array([mean for (side, _), mean in means.items() if side == wanted])
        for wanted in ("train", "holdout")
    )
    if min(len(train), len(holdout)) < _LEAST_PARTS or len(set(means.values())) < 2:
        return None
    return train, holdout


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """P-values corrected for there being several, in rising order (Holm, Scand. J. Stat. 6, 1979)."""
    corrected, largest = {}, 0.0
    for rank, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda entry: entry[1])):
        largest = max(largest, min(p_value * (len(p_values) - rank), 1.0))
        corrected[name] = largest
    return corrected


def cliffs_delta(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Chance that one of `first` lies above one of `second` less the chance that it lies below."""
    above = float(stats.mannwhitneyu(first, second).statistic)
    return 2 * above / (len(first) * len(second)) - 1
