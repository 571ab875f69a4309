"""Lines whose truth is known, with a candidate tried on them: what the rollouts' gates say of it.

One part is like another here but for its station and its minute, whose reject rates may differ, drift
and come in bursts. Counts arrive once a minute, and the gate looks each time (or every so many).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fleet_server.rollouts.gates import (
    ArmDevice,
    Counts,
    Pairs,
    Progress,
    Verdict,
    canary_gate,
    shadow_gate,
)
from fleet_server.rollouts.plan import Stage
from fleet_server.rollouts.shares import share_gate

Matrix = NDArray[np.float64]
Table = NDArray[np.int64]
Rng = np.random.Generator
End = Literal["promote", "roll_back", "undecided"]

_RARE = (0.002, 0.005, 0.0005)
"""Shares of parts without a decision, late, and with a fault, of either bundle."""
_MEMORY = 0.95
"""Autocorrelation of a station's bursts from one minute to the next."""
_SHIFT_MIN = 480
_MOST = 0.45


@dataclass(frozen=True, slots=True)
class Line:
    """A line, and how often the candidate rejects."""

    stations: int = 3
    parts_min: int = 30
    """Parts a minute and station."""
    rejects: float = 0.02
    """Share of parts that the active bundle rejects, in the mean."""
    ratio: float = 1.0
    """Candidate's reject rate over the active bundle's."""
    apart: float = 0.3
    """Share of the active bundle's rejects that the candidate accepts all the same."""
    spread: float = 0.0
    """Standard deviation of ln(rate) from station to station."""
    bursts: float = 0.0
    """Standard deviation of ln(rate) of each station's own bursts, some twenty minutes long."""
    shifts: float = 0.0
    """Amplitude of ln(rate) over a shift of eight hours, alike on all stations."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage ended, after how many parts of the candidate and minutes."""

    end: End
    parts: int
    minutes: int


def reject_rates(line: Line, minutes: int, rng: Rng) -> Matrix:
    """[stations, minutes]: the active bundle's."""
    log = np.tile(line.spread * rng.standard_normal((line.stations, 1)), (1, minutes))
    if line.bursts:
        state = rng.standard_normal(line.stations)
        for minute in range(minutes):
            log[:, minute] += line.bursts * state
            fresh = rng.standard_normal(line.stations)
            state = _MEMORY * state + (1 - _MEMORY**2) ** 0.5 * fresh
    phase = (np.arange(minutes) + rng.integers(_SHIFT_MIN)) / _SHIFT_MIN
    log += line.shifts * np.sin(2 * np.pi * phase)
    mean = (line.spread**2 + line.bursts**2) / 2
    return np.asarray(np.minimum(line.rejects * np.exp(log - mean), _MOST), np.float64)


def try_share(line: Line, stage: Stage, rng: Rng, every: int = 1) -> Outcome:
    """A canary inside every station of `line`, each part drawn for it by chance."""
    minutes = _minutes(stage)
    rates = reject_rates(line, minutes, rng)
    drawn = rng.binomial(line.parts_min, stage.share, rates.shape)
    both, more, less = _paired(line, drawn, rates, rng)
    own = _Arm(stage, _counts(drawn, both + more, rng))
    rest = line.parts_min - drawn
    active = _Arm(stage, _counts(rest, rng.binomial(rest, rates), rng))
    pairs = _cumulated(drawn, both, more, less)

    def look(minute: int) -> Verdict:
        told = sum((_pairs(one) for one in pairs[:, minute]), Pairs())
        arms = own.until(minute), active.until(minute)
        return share_gate(stage, _progress(line.stations, minute), *arms, told, (0, 0))

    return _watched(look, minutes, every, np.cumsum(drawn.sum(axis=0)))


def try_stations(line: Line, stage: Stage, canaries: int, rng: Rng, every: int = 1) -> Outcome:
    """A canary on all parts of some stations, after an hour by the active bundle."""
    minutes, before = _minutes(stage), int(stage.history_s / 60)
    rates = reject_rates(line, before + minutes, rng)
    parts = np.full(rates.shape, line.parts_min)
    judged = rates.copy()
    judged[:canaries, before:] = np.minimum(line.ratio * judged[:canaries, before:], 1)
    counts = _counts(parts, rng.binomial(parts, judged), rng)
    earlier = [Counts(*one) for one in counts[:, :before].sum(axis=1).tolist()]
    arm = _Arm(stage, counts[:, before:], earlier)

    def look(minute: int) -> Verdict:
        devices = arm.until(minute)
        progress = _progress(canaries, minute)
        return canary_gate(stage, progress, devices[:canaries], devices[canaries:])

    return _watched(look, minutes, every, np.cumsum(parts[:canaries, before:].sum(axis=0)))


def try_shadow(line: Line, stage: Stage, rng: Rng, late: float = 0.0) -> Outcome:
    """A shadow on all stations whose disagreements nobody looks at; `late`: share of its verdicts."""
    minutes = _minutes(stage)
    rates = reject_rates(line, minutes, rng)
    parts = np.full(rates.shape, line.parts_min)
    pairs = _cumulated(parts, *_paired(line, parts, rates, rng), rng.binomial(parts, late))

    def look(minute: int) -> Verdict:
        told = {_name(index): _pairs(one) for index, one in enumerate(pairs[:, minute])}
        return shadow_gate(stage, _progress(line.stations, minute), told, (0, 0))

    return _watched(look, minutes, 1, np.cumsum(parts.sum(axis=0)))


def try_reviews(right: float, most: int, stage: Stage, rng: Rng) -> Outcome:
    """A shadow whose disagreements people review one by one; `right`: how often the challenger is."""
    counted = np.cumsum(rng.random(most) < right).tolist()
    pairs = {_name(0): Pairs(10 * most, 5 * most)}

    def look(index: int) -> Verdict:
        reviewed = counted[index], index + 1 - counted[index]
        return shadow_gate(stage, _progress(1, 0), pairs, reviewed)

    return _watched(look, most, 1, np.arange(1, most + 1))


class _Arm:
    """What devices count, minute by minute, in the gate's bins."""

    def __init__(self, stage: Stage, counts: Table, before: Sequence[Counts] = ()) -> None:
        self._stage, self._counts = stage, counts.swapaxes(0, 1).tolist()
        self._before = before or [Counts()] * len(counts)
        self._bins: list[list[Counts]] = [[] for _ in self._before]
        self._read = 0

    def until(self, minute: int) -> list[ArmDevice]:
        """The devices once `minute` is over; minutes only go on."""
        for now in range(self._read, minute + 1):
            index = int(60 * now / self._stage.bin_s)
            for bins, counts in zip(self._bins, self._counts[now], strict=True):
                bins += [Counts()] * (index + 1 - len(bins))
                bins[index] += Counts(*counts)
        self._read = minute + 1
        both = zip(self._before, self._bins, strict=True)
        return [ArmDevice(_name(i), before, tuple(bins)) for i, (before, bins) in enumerate(both)]


def _watched(look: Callable[[int], Verdict], minutes: int, every: int, parts: Table) -> Outcome:
    for minute in range(every - 1, minutes, every):
        decision = look(minute).decision
        if decision != "hold":
            return Outcome(decision, int(parts[minute]), minute + 1)
    return Outcome("undecided", int(parts[-1]), minutes)


def _minutes(stage: Stage) -> int:
    return int(stage.horizon_s / 60)


def _name(index: int) -> str:
    return f"station-{index + 1}"


def _progress(stations: int, minute: int) -> Progress:
    names = tuple(_name(index) for index in range(stations))
    return Progress(names, names, (), 60.0 * (minute + 1))


def _paired(line: Line, parts: Table, rates: Matrix, rng: Rng) -> tuple[Table, Table, Table]:
    """Parts that both reject, the candidate alone, the active bundle alone."""
    both = (1 - line.apart) * min(line.ratio, 1) * rates
    more = np.minimum(line.ratio * rates, 2 * _MOST) - both
    each = np.stack([both, more, rates - both], axis=-1)
    rest = 1 - each.sum(axis=-1, keepdims=True)
    drawn = rng.multinomial(parts, np.concatenate([each, rest], axis=-1).clip(0, 1))
    return drawn[..., 0], drawn[..., 1], drawn[..., 2]


def _counts(parts: Table, rejects: Table, rng: Rng) -> Table:
    """[stations, minutes, 5] in the order of `Counts`."""
    rare = [rng.binomial(parts, share) for share in _RARE]
    return np.stack([parts, rejects, *rare], axis=-1)


def _cumulated(*counts: Table) -> Table:
    """[stations, minutes, len(counts)] summed over the minutes so far."""
    return np.cumsum(np.stack(counts, axis=-1), axis=1)


def _pairs(counted: Table) -> Pairs:
    """Of parts, those that both reject, the candidate alone, the active alone, and late ones."""
    parts, both, more, less, *late = (int(count) for count in counted)
    return Pairs(parts, more + less, late=sum(late), both_reject=both, only_candidate_rejects=more)
