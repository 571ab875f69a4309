"""Tests that may be looked at all the time; pure functions of counts.

An e-value is evidence against a hypothesis: under it the running value exceeds 1/alpha at any time
with a chance of at most alpha (Ville 1939; Howard, Ramdas, McAuliffe, Sekhon 2021), so looking often
costs nothing. All evidence is kept as its natural logarithm.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

_RATIOS = 25
_SMALLEST = 1e-12


@dataclass(frozen=True, slots=True)
class Bin:
    """Events of one kind in one span of time: canary and control, with their expected counts."""

    canary: int
    control: int
    expected_canary: float
    expected_control: float


@lru_cache(maxsize=64)
def _grid(first: float, last: float) -> NDArray[np.float64]:
    return np.geomspace(first, last, _RATIOS)


def rate_ratio_evidence(bins: Sequence[Bin], r0: float) -> float:
    """ln E against "the canary's rate is at most r0 times the control's".

    Given their sum, the canary's events are binomial with share p(r) = r m_c / (r m_c + m_0); E is the
    mean of the likelihood ratios of r_k against r0 over r_k = geomspace(1.05 r0, max(5, 4 r0), 25),
    multiplied over bins. Bins without events or without one of the arms say nothing.
    """
    told = [
        one
        for one in bins
        if one.canary + one.control > 0 and one.expected_canary > 0 and one.expected_control > 0
    ]
    if not told:
        return 0.0
    ratios = _grid(1.05 * r0, max(5.0, 4 * r0))[:, None]
    canary, control, m_c, m_0 = (
        np.array(
            [(b.canary, b.control, b.expected_canary, b.expected_control) for b in told], np.float64
        )
        .reshape(-1, 4)
        .T
    )
    share = ratios * m_c / (ratios * m_c + m_0)
    null = r0 * m_c / (r0 * m_c + m_0)
    logs = canary * np.log(share / null) + control * np.log((1 - share) / (1 - null))
    return float(np.logaddexp.reduce(logs.sum(axis=1)) - math.log(_RATIOS))


def least_found(bins: Sequence[Bin], r0: float, limit: float, most: int) -> int | None:
    """The least number of the canary's events whose ln E would have reached `limit`, about.

    All else is as counted, and taken as one span. None where not even `most` would have.
    """
    control = sum(one.control for one in bins)
    expected = sum(one.expected_canary for one in bins), sum(one.expected_control for one in bins)

    def enough(events: int) -> bool:
        return rate_ratio_evidence([Bin(events, control, *expected)], r0) >= limit

    found = bisect_left(range(most + 1), True, key=enough)
    return found if found <= most else None


def paired_ratio_evidence(both: int, candidate: int, active: int, r0: float) -> float:
    """ln E against "the candidate's rate of an event is at most r0 times the active bundle's".

    Both judged the same parts: `both` had the event by both, `candidate` and `active` by one alone.
    Under the hypothesis X = [candidate] - r0 [active] has a mean of at most 0 whatever the parts
    are, so a bet of the share b on it grows by 1 + b X; E is the mean over bets b (testing by
    betting: Waudby-Smith and Ramdas 2024). What both say of a part takes no part in chance: fewer
    parts decide than between arms of different ones.
    """
    bets = _grid(0.01, 0.98) / max(r0, 1.0)
    logs = (
        both * np.log1p(bets * (1 - r0))
        + candidate * np.log1p(bets)
        + active * np.log1p(-bets * r0)
    )
    return float(np.logaddexp.reduce(logs) - math.log(_RATIOS))


def review_evidence(right: int, wrong: int) -> float:
    """ln E against "on parts where they disagree, this one is right at most half of the time".

    E = 2^n B(1+b, 1+c) 2 (1 - I_1/2(1+b, 1+c)): a uniform prior over shares above one half.
    """
    above = float(special.betaincc(1 + right, 1 + wrong, 0.5))
    if above == 0:
        return -math.inf
    return (
        (right + wrong + 1) * math.log(2)
        + float(special.betaln(1 + right, 1 + wrong))
        + math.log(above)
    )


def share_bounds(hits: int, trials: int, alpha: float) -> tuple[float, float]:
    """Lower and upper bound of a share, right at all times together with chance 1 - alpha.

    Those shares p for which the beta-binomial mixture (Robbins 1970; Jeffreys' prior) has an e-value
    below 1/alpha.
    """
    if trials == 0:
        return 0.0, 1.0
    mixture = float(special.betaln(0.5 + hits, 0.5 + trials - hits) - special.betaln(0.5, 0.5))

    def excluded(p: float) -> bool:
        likelihood = float(special.xlogy(hits, p) + special.xlog1py(trials - hits, -p))
        return mixture - likelihood >= math.log(1 / alpha)

    mean = hits / trials
    return _edge(excluded, 0.0, mean), _edge(excluded, 1.0, mean)


def _edge(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    if not excluded(outside):
        return outside
    for _ in range(50):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if excluded(middle) else (outside, middle)
    return outside


def welch_below(canary: Sequence[float], control: Sequence[float], margin: float) -> float:
    """p-value against "the canary's mean is at least `margin` above the control's" (Welch 1947).

    Each value is one device's ln(rate after / rate before): devices are the units, because parts of
    one device are not independent. At least two values an arm; without any spread, 0 or 1.
    """
    difference = float(np.mean(canary) - np.mean(control)) - margin
    a = float(np.var(canary, ddof=1)) / len(canary)
    b = float(np.var(control, ddof=1)) / len(control)
    spread = math.sqrt(a + b)
    if spread < _SMALLEST:
        return 0.0 if difference < 0 else 1.0
    freedom = (a + b) ** 2 / (a**2 / (len(canary) - 1) + b**2 / (len(control) - 1))
    return float(special.stdtr(freedom, difference / spread))
