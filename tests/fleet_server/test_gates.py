"""The gates: what promotes, what holds, what rolls back; and how often they are wrong."""

import math

import numpy as np
import pytest

from fleet_server.rollouts.gates import (
    ArmDevice,
    Counts,
    Failure,
    Pairs,
    Progress,
    all_gate,
    canary_gate,
    shadow_gate,
)
from fleet_server.rollouts.plan import Stage
from fleet_server.rollouts.statistics import (
    Bin,
    rate_ratio_evidence,
    review_evidence,
    share_bounds,
    welch_below,
)

DEVICES = ("a", "b", "c")


def progress(elapsed_s: float = 60.0, failures: tuple[Failure, ...] = ()) -> Progress:
    return Progress(DEVICES, DEVICES, failures, elapsed_s)


def arm(name: str, rate: float, *, parts: int = 400, before: float = 0.2) -> ArmDevice:
    """`parts` since the stage began with rejects at `rate`, and 1000 earlier ones at `before`."""
    bins = tuple(Counts(parts // 10, round(rate * (parts // 10))) for _ in range(10))
    return ArmDevice(name, Counts(1000, round(before * 1000)), bins)


SHADOW = Stage(name="shadow", min_parts=100, horizon_s=600)
CANARY = Stage(name="canary", devices=1, min_parts=100, horizon_s=600)


def test_no_data_holds() -> None:
    assert shadow_gate(SHADOW, progress(), {}, (0, 0)).decision == "hold"
    assert canary_gate(CANARY, progress(), [], []).decision == "hold"


def test_no_data_until_the_horizon_is_inconclusive_and_goes_back() -> None:
    verdict = shadow_gate(SHADOW, progress(601), {}, (0, 0))
    assert verdict.decision == "roll_back"
    assert "inconclusive at the horizon" in verdict.text


def test_an_inconclusive_stage_may_wait_for_a_person_instead() -> None:
    stage = Stage(name="shadow", inconclusive="pause", horizon_s=600)
    assert shadow_gate(stage, progress(601), {}, (0, 0)).decision == "hold"


def test_one_failed_device_rolls_back_at_once() -> None:
    failed = progress(1, (Failure("b", "self_test", "golden 3: score 0.2 instead of 0.9"),))
    verdict = shadow_gate(SHADOW, failed, {}, (0, 0))
    assert verdict.decision == "roll_back"
    assert "b: self_test (golden 3" in verdict.text


def test_a_failure_that_the_plan_allows_does_not() -> None:
    stage = SHADOW.model_copy(update={"max_failures": 1})
    failed = progress(1, (Failure("b", "crash", "SIGSEGV"),))
    assert shadow_gate(stage, failed, {}, (0, 0)).decision == "hold"


def test_shadows_that_agree_are_promoted() -> None:
    pairs = {name: Pairs(60, 2) for name in DEVICES}
    verdict = shadow_gate(SHADOW, progress(), pairs, (0, 0))
    assert verdict.decision == "promote"
    assert verdict.numbers["disagreements"] == 6


def test_too_few_devices_hold_however_many_parts_there_are() -> None:
    pairs = {"a": Pairs(1000, 2), "b": Pairs(3, 0)}
    verdict = shadow_gate(SHADOW, progress(), pairs, (0, 0))
    assert verdict.decision == "hold"
    assert "1 of 3 devices" in verdict.text


def test_unreviewed_disagreement_holds_and_at_the_horizon_goes_back() -> None:
    pairs = {name: Pairs(60, 40) for name in DEVICES}
    assert shadow_gate(SHADOW, progress(), pairs, (0, 0)).decision == "hold"
    assert shadow_gate(SHADOW, progress(601), pairs, (0, 0)).decision == "roll_back"


def test_people_who_find_the_challenger_right_promote_it() -> None:
    pairs = {name: Pairs(60, 40) for name in DEVICES}
    assert shadow_gate(SHADOW, progress(), pairs, (9, 0)).decision == "promote"


def test_people_who_find_the_champion_right_send_it_back() -> None:
    pairs = {name: Pairs(60, 5) for name in DEVICES}
    verdict = shadow_gate(SHADOW, progress(), pairs, (0, 9))
    assert verdict.decision == "roll_back"
    assert "champion right on 9 of 9" in verdict.text


def test_a_fault_of_the_candidates_runtime_goes_back() -> None:
    pairs = {"a": Pairs(60, 0, faults=1)}
    assert shadow_gate(SHADOW, progress(), pairs, (0, 0)).decision == "roll_back"


def test_a_candidate_that_is_mostly_late_goes_back() -> None:
    pairs = {"a": Pairs(100, 0, late=90)}
    assert shadow_gate(SHADOW, progress(), pairs, (0, 0)).decision == "roll_back"


def test_a_small_canary_says_that_it_is_guard_only() -> None:
    verdict = canary_gate(CANARY, progress(), [arm("a", 0.2)], [arm("b", 0.2), arm("c", 0.2)])
    # `progress` has three devices in the stage; one canary is not enough for it.
    assert verdict.decision == "hold"
    stage = CANARY.model_copy(update={"min_devices": 1})
    verdict = canary_gate(stage, progress(), [arm("a", 0.2)], [arm("b", 0.2), arm("c", 0.2)])
    assert verdict.decision == "promote"
    assert verdict.text.startswith("guard_only")
    assert verdict.numbers["guard_only"] is True


@pytest.mark.parametrize(("rate", "kind"), [(0.6, "rejects"), (0.0, "fewer rejects")])
def test_a_canary_that_rejects_far_more_or_far_fewer_goes_back(rate: float, kind: str) -> None:
    verdict = canary_gate(CANARY, progress(), [arm("a", rate)], [arm("b", 0.2), arm("c", 0.2)])
    assert verdict.decision == "roll_back"
    assert verdict.text.startswith(kind)


def test_a_device_is_measured_against_its_own_earlier_rate() -> None:
    others = [arm("b", 0.2), arm("c", 0.2)]
    always_so = arm("a", 0.5, before=0.5)
    assert canary_gate(CANARY, progress(), [always_so], others).decision != "roll_back"


def test_a_canary_without_control_is_measured_against_its_past() -> None:
    assert canary_gate(CANARY, progress(), [arm("a", 0.6)], []).decision == "roll_back"
    assert canary_gate(CANARY, progress(), [arm("a", 0.2)], []).decision != "roll_back"


def test_four_devices_an_arm_are_tested_at_looks() -> None:
    stage = Stage(name="canary", min_parts=100, min_devices=4, horizon_s=400, look_every_s=10)
    names = [f"d{i}" for i in range(8)]
    rates = [0.2, 0.21, 0.19, 0.2, 0.2, 0.19, 0.21, 0.2]
    arms = [arm(name, rate, parts=1000) for name, rate in zip(names, rates, strict=True)]
    early = canary_gate(stage, progress(50), arms[:4], arms[4:])
    assert (early.decision, early.text) == ("hold", "first look at 100 s")
    assert canary_gate(stage, progress(150), arms[:4], arms[4:]).decision == "promote"


def test_the_last_stage_waits_for_every_device() -> None:
    stage = Stage(name="all", min_parts=0)
    waiting = Progress(DEVICES, ("a", "b"), (), 10.0)
    assert all_gate(stage, waiting, {}).text == "waiting for c"
    assert all_gate(stage, progress(), {}).decision == "promote"


def test_wrong_roll_backs_of_the_guard_are_rare_over_200_looks() -> None:
    generator, wrong, runs = np.random.default_rng(1), 0, 300
    for _ in range(runs):
        bins: list[Bin] = []
        counts = generator.poisson([4.0 * 1.1, 8.0], size=(200, 2))
        for index, (canary, control) in enumerate(counts, start=1):
            bins.append(Bin(int(canary), int(control), 20.0, 40.0))
            if index % 10 == 0 and rate_ratio_evidence(bins, 1.1) >= math.log(20):
                wrong += 1
                break
    assert wrong / runs <= 0.05


def test_wrong_roll_backs_stay_rare_with_rates_learned_from_little_history() -> None:
    generator, wrong, runs = np.random.default_rng(2), 0, 300
    stage = Stage(name="canary", min_devices=1, watch=["rejects"])
    for _ in range(runs):
        rates = generator.uniform(0.1, 0.4, 3)
        devices = [
            ArmDevice(
                str(index),
                Counts(200, int(generator.binomial(200, rate))),
                tuple(Counts(40, int(generator.binomial(40, rate))) for _ in range(50)),
            )
            for index, rate in enumerate(rates)
        ]
        wrong += canary_gate(stage, progress(), devices[:1], devices[1:]).decision == "roll_back"
    assert wrong / runs <= 0.05


def test_a_doubled_rate_is_found_within_some_hundred_parts() -> None:
    generator, found = np.random.default_rng(3), 0
    for _ in range(50):
        bins = [Bin(int(c), int(k), 5.0, 10.0) for c, k in generator.poisson([10.0, 10.0], (40, 2))]
        found += rate_ratio_evidence(bins, 1.25) >= math.log(20)
    assert found >= 45


def test_reviews_decide_wrongly_at_most_as_often_as_promised() -> None:
    generator, wrong, runs = np.random.default_rng(4), 0, 1000
    for _ in range(runs):
        right = np.cumsum(generator.integers(0, 2, 100))
        wrong += any(
            review_evidence(int(b), n - int(b)) >= math.log(20)
            for n, b in enumerate(right, start=1)
        )
    assert wrong / runs <= 0.05


@pytest.mark.parametrize("count", [124, 800, 9000])
def test_people_who_find_the_challenger_right_for_long_are_never_read_as_against_it(
    count: int,
) -> None:
    assert review_evidence(count // 4, count) < math.log(20)
    assert review_evidence(count, count // 4) > math.log(20)


def test_seventeen_reviews_usually_decide_at_80_to_20() -> None:
    generator, taken = np.random.default_rng(5), []
    for _ in range(300):
        right = np.cumsum(generator.random(200) < 0.8)
        taken.append(
            next(
                (
                    n
                    for n, b in enumerate(right, start=1)
                    if review_evidence(int(b), n - int(b)) >= math.log(20)
                ),
                200,
            )
        )
    assert 10 <= float(np.median(taken)) <= 25


def test_bounds_of_a_share_hold_at_all_times_together() -> None:
    generator, wrong, runs = np.random.default_rng(6), 0, 200
    for _ in range(runs):
        hits = np.cumsum(generator.random(200) < 0.2)
        for n in range(5, 201, 15):
            low, high = share_bounds(int(hits[n - 1]), n, 0.05)
            if not low <= 0.2 <= high:
                wrong += 1
                break
    assert wrong / runs <= 0.05


def test_bounds_of_a_share_close_in() -> None:
    assert share_bounds(0, 0, 0.05) == (0.0, 1.0)
    low, high = share_bounds(20, 200, 0.05)
    assert 0.04 < low < 0.1 < high < 0.19
    assert share_bounds(0, 100, 0.05)[0] == 0.0
    assert share_bounds(100, 100, 0.05)[1] == 1.0


def test_the_device_level_test_rules_out_what_is_far_away_only() -> None:
    alike = [0.0, 0.02, -0.02, 0.01]
    assert welch_below(alike, alike, math.log(1.5)) < 0.01
    assert welch_below([x + 0.5 for x in alike], alike, math.log(1.5)) > 0.5
    assert welch_below([0.0, 0.0], [0.0, 0.0], math.log(1.5)) == 0.0
