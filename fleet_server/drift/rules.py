"""From windows to an alarm: an EWMA of clipped z-scores against an accepted baseline.

Per feature, z = (window mean - baseline mean) / sd, less a dead zone of half an sd, clipped at 4;
s <- (1 - l) s + l z; T = |s| / (sqrt(l / (2 - l)) sqrt((1 + r1) / (1 - r1))), l = .05; alarm at T >= 5.9.
(Roberts 1959, with the variance of an EWMA of an AR(1) series.) r1 is the autocorrelation between window
means, held within 0 and .8: with z clipped at 4 a larger one could never alarm.

The dead zone is taken from z, not from s, and widened by the error of the baseline's own mean,
sqrt((1 + r1) / (1 - r1) / n): a baseline of 30 windows knows its mean to a fifth of an sd only, and that error
would add up in s for ever. For the same reason sd is raised by its standard error and r1 by its bias
(Marriott and Pope 1954). Simulated with 30 windows: no false alarm in 3,000 features x 1,500 windows, 3 sd found
after 15 windows (median); with 300 windows 1.5 sd after 50.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleet_contract.windows import FEATURES, THUMBNAIL_SIDE, Window

WEIGHT = 0.05
CLIP = 4.0
DEAD_ZONE = 0.5
LARGEST_R1 = 0.8
_LEFT_ZERO = 0.2
"""|s| above which a shift is held to have begun; s of a quiet feature has an sd of about .1."""

CELLS = tuple(f"cell_{index:02d}" for index in range(THUMBNAIL_SIDE**2))
SHIFTS = frozenset({"shift_x", "shift_y"})
"""Features in pixels from the reference frame: their changes are told in pixels."""
SCORES = ("score", "rejects")
"""Features of the model's verdicts: compared only with the same bundle's."""

_LEAST_SD: dict[str, float] = {
    "mean": 0.5, "std": 0.3, "p01": 0.7, "p99": 0.7, "clip_low": 1e-3, "clip_high": 1e-3,
    "entropy": 0.02, "edges": 1e-3, "rg": 3e-3, "bg": 3e-3, "saturation": 0.3,
    "shift_x": 0.15, "shift_y": 0.15, "shift_response": 0.01, "score": 0.01, "rejects": 0.03,
}  # fmt: skip
"""The least sd that is believed, in the feature's unit: nothing is perfectly still for ever."""
_LEAST_RELATIVE_SD = {"sharpness": 0.02, "noise": 0.02}
_LEAST_CELL_SD = 0.004


@dataclass(frozen=True, slots=True)
class Reference:
    """What is normal for one feature, from the window means of an accepted period."""

    mean: float
    sd: float
    r1: float
    windows: int
    """How many windows it is from."""

    def dead_zone(self) -> float:
        """In sds: half an sd, and the error of `mean` itself."""
        return DEAD_ZONE + math.sqrt(self._dependence() / self.windows)

    def _dependence(self) -> float:
        return (1 + self.r1) / (1 - self.r1)

    def scale(self) -> float:
        """Standard deviation of s while nothing changes, were there no dead zone."""
        return math.sqrt(WEIGHT / (2 - WEIGHT) * self._dependence())


@dataclass(frozen=True, slots=True)
class Tracked:
    """What is carried from window to window for one feature."""

    s: float = 0.0
    level: float = 0.0
    """EWMA of the feature itself, in its unit, from the baseline's mean on."""
    parts: int = 0
    """Parts since s left zero."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How far one feature has moved."""

    strength: float
    """T."""
    s: float
    change: float
    """Of its level against the baseline's mean: in pixels for a shift, else relative where that mean
    is not near zero."""
    parts: int


def features_of(window: Window) -> dict[str, float]:
    """The window's means by feature; features without values are left out."""
    values = {
        name: mean
        for name in FEATURES
        if name in window.features
        and (mean := window.features[name].histogram().mean()) is not None
    }
    thumbnail = window.mean_thumbnail()
    if thumbnail is not None:
        values |= dict(zip(CELLS, (float(x) for x in thumbnail.reshape(-1)), strict=True))
    return values


def scores_of(window: Window) -> dict[str, float]:
    """Means of what the active bundle said; empty without one.

    Only the windows of a part's first view tell how many parts it rejected.
    """
    mean = window.score.histogram().mean()
    if mean is None or window.digest is None:
        return {}
    arm = window.arms.get(window.digest)
    if arm is None or not arm.parts:
        return {"score": mean}
    return {"score": mean, "rejects": arm.rejects / arm.parts}


def parts_of(window: Window) -> int:
    """Parts with a verdict, undecided ones included; of a further view, those that it showed."""
    counted = window.undecided.parts + sum(arm.parts for arm in window.arms.values())
    return max(counted, window.score.histogram().finite)


def reference(name: str, values: Sequence[float]) -> Reference:
    """What is normal, from at least 5 window means in order of time."""
    x = np.asarray(values, np.float64)
    n, mean = len(x), float(x.mean())
    sd = float(x.std(ddof=1)) * (1 + 1 / math.sqrt(2 * (n - 1)))
    centred = x - mean
    power = float(centred @ centred)
    raw = float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0
    r1 = min(max((n * raw + 1) / (n - 3), 0.0), LARGEST_R1)
    return Reference(mean, max(sd, _least_sd(name, mean)), r1, n)


def _least_sd(name: str, mean: float) -> float:
    if name in _LEAST_RELATIVE_SD:
        return max(abs(mean) * _LEAST_RELATIVE_SD[name], 1e-6)
    return _LEAST_CELL_SD if name.startswith("cell_") else _LEAST_SD[name]


def references(windows: Sequence[Mapping[str, float]]) -> dict[str, Reference]:
    """What is normal per feature that every one of `windows` has."""
    names = set.intersection(*(set(values) for values in windows))
    return {name: reference(name, [values[name] for values in windows]) for name in sorted(names)}


def step(
    baseline: Mapping[str, Reference],
    tracked: Mapping[str, Tracked],
    values: Mapping[str, float],
    parts: int,
) -> dict[str, Tracked]:
    """One window on; features that the window or the baseline lacks stay where they are."""
    after = dict(tracked)
    for name in baseline.keys() & values.keys():
        known = baseline[name]
        before = tracked.get(name, Tracked(level=known.mean))
        after[name] = _step(known, before, values[name], parts)
    return after


def _step(known: Reference, before: Tracked, value: float, parts: int) -> Tracked:
    raw = (value - known.mean) / known.sd
    z = math.copysign(min(max(abs(raw) - known.dead_zone(), 0.0), CLIP), raw)
    s = (1 - WEIGHT) * before.s + WEIGHT * z
    level = (1 - WEIGHT) * before.level + WEIGHT * value
    return Tracked(s, level, before.parts + parts if abs(s) >= _LEFT_ZERO else 0)


def movements(
    baseline: Mapping[str, Reference], tracked: Mapping[str, Tracked]
) -> dict[str, Moved]:
    """How far each feature has moved."""
    return {
        name: Moved(
            abs(tracked[name].s) / known.scale(),
            tracked[name].s,
            _change(name, known.mean, tracked[name].level),
            tracked[name].parts,
        )
        for name, known in baseline.items()
        if name in tracked
    }


def _change(name: str, mean: float, level: float) -> float:
    absolute = name in SHIFTS or abs(mean) <= 1e-3
    return level - mean if absolute else (level - mean) / abs(mean)


def alarming(moved: Mapping[str, Moved], threshold: float) -> str | None:
    """The feature that moved most, where that is at or above the threshold."""
    name = max(moved, key=lambda name: moved[name].strength, default=None)
    return name if name is not None and moved[name].strength >= threshold else None
