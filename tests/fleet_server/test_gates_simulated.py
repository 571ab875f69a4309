"""What the gates promise, on lines whose truth is known: a small sample of `benchmarks.gates`."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.support.canaries import (
    Line,
    Outcome,
    Rng,
    try_reviews,
    try_shadow,
    try_share,
    try_stations,
)
from fleet_server.rollouts.gates import (
    ArmDevice,
    Counts,
    Failure,
    Pairs,
    Progress,
    canary_gate,
    shadow_gate,
)
from fleet_server.rollouts.plan import Stage
from fleet_server.rollouts.shares import share_gate
from fleet_server.rollouts.statistics import Bin, least_found, rate_ratio_evidence

UNEVEN = Line(stations=1, spread=0.5, shifts=0.5, bursts=0.5)
SHARE = Stage(name="canary", share=0.25, min_parts=10**9, inconclusive="pause")
WHOLE = Stage(name="canary", min_parts=10**9, inconclusive="pause")
SHADOW = Stage(name="shadow", inconclusive="pause")


def ends(runs: int, once: Callable[[Rng], Outcome]) -> list[str]:
    return [once(np.random.default_rng([1, index])).end for index in range(runs)]


def allowed(alpha: float, runs: int) -> float:
    """So many wrong ones of `runs` that more are a sign of a chance above `alpha` (two errors)."""
    return runs * alpha + 2 * math.sqrt(runs * alpha * (1 - alpha))


@pytest.mark.parametrize(
    "once",
    [
        partial(try_share, UNEVEN, SHARE, every=3),
        partial(try_stations, Line(spread=0.5), WHOLE, 1, every=4),
        partial(try_shadow, Line(stations=1), SHADOW, late=0.5),
        partial(try_reviews, 0.5, 40, SHADOW),
    ],
    ids=["share", "stations", "late", "reviews"],
)
def test_an_equal_candidate_is_rarely_rolled_back(once: Callable[[Rng], Outcome]) -> None:
    assert ends(30, once).count("roll_back") <= allowed(0.05, 30)


def test_a_candidate_that_rejects_four_times_as_many_is_nearly_always_rolled_back() -> None:
    hours = SHARE.model_copy(update={"horizon_s": 4 * 3600.0})
    once = partial(try_share, Line(stations=1, ratio=4), hours, every=20)
    assert ends(20, once).count("roll_back") >= 19


@pytest.mark.parametrize("ratio", [0.0, 3.0])
def test_a_long_shadow_asks_people_where_rejects_change_though_most_parts_agree(
    ratio: float,
) -> None:
    long = SHADOW.model_copy(update={"min_parts": 2000})
    assert ends(10, partial(try_shadow, Line(ratio=ratio), long)).count("promote") <= 1


def test_a_long_shadow_promotes_an_equal_candidate_without_people() -> None:
    long = SHADOW.model_copy(update={"min_parts": 2000})
    assert ends(10, partial(try_shadow, Line(), long)).count("promote") >= 9


def test_a_quiet_guard_says_what_it_would_have_seen() -> None:
    bins = [Bin(2, 12, 100.0, 600.0)]
    found = least_found(bins, 1.25, math.log(100), 100)
    assert found is not None
    assert rate_ratio_evidence([Bin(found, 12, 100.0, 600.0)], 1.25) >= math.log(100)
    assert rate_ratio_evidence([Bin(found - 1, 12, 100.0, 600.0)], 1.25) < math.log(100)
    assert least_found([Bin(0, 0, 2.0, 600.0)], 1.25, math.log(100), 1) is None


counted = st.integers(0, 400).flatmap(
    lambda parts: st.builds(Counts, st.just(parts), *[st.integers(0, parts)] * 4)
)
arms = st.lists(st.tuples(counted, counted, counted), min_size=0, max_size=5)


@settings(max_examples=60, deadline=None)
@given(arms=arms, failed=st.integers(0, 2), reviewed=st.tuples(*[st.integers(0, 40)] * 2))
def test_whatever_is_counted_a_failure_goes_back_and_too_few_parts_are_not_promoted(
    arms: list[tuple[Counts, Counts, Counts]], failed: int, reviewed: tuple[int, int]
) -> None:
    names = tuple(str(index) for index in range(len(arms)))
    failures = tuple(Failure(str(index), "self_test", "golden 1") for index in range(failed))
    progress = Progress(names, names, failures, 1000.0)
    own, others = (
        [ArmDevice(n, arm[0], (arm[side],)) for n, arm in zip(names, arms, strict=True)]
        for side in (1, 2)
    )
    pairs = {n: Pairs(arm[1].parts, arm[1].rejects) for n, arm in zip(names, arms, strict=True)}
    total = sum(arm[1].parts for arm in arms)
    verdicts = [
        shadow_gate(SHADOW, progress, pairs, reviewed),
        share_gate(Stage(name="canary", share=0.1), progress, own, others, Pairs(), reviewed),
        canary_gate(Stage(name="canary"), progress, own, others),
    ]
    for verdict in verdicts:
        assert verdict.text
        if failed:
            assert verdict.decision == "roll_back"
        elif total < 200 or any(arm[1].parts < 10 for arm in arms):
            assert verdict.decision != "promote"
        if not failed and total == 0 and reviewed == (0, 0):
            assert verdict.decision == "hold"
