"""Rules of probation, sampling, the link and part numbers: values and times in, values out."""

import gc

from edge_agent import health
from edge_agent.config import ProbationConfig, SamplesConfig
from edge_agent.link_rules import Backoff, Budget, InFlight, RateLimit, TakeoverWatch
from edge_agent.sampling import Quota, SamplePolicy
from edge_agent.source.base import Progress
from edge_agent.update.probation import Outcome, Probation
from fleet_contract.names import Verdict

LIMITS = ProbationConfig(parts=20, max_faults=1, max_no_decision=0.1, max_late=0.2)


def feed(probation: Probation, parts: int, **kinds: bool) -> Outcome | None:
    outcome = None
    verdict = Verdict.NO_DECISION if kinds else Verdict.ACCEPT
    late, fault = kinds.get("late", False), kinds.get("fault", False)
    for _ in range(parts):
        outcome = outcome or probation.part(verdict, None if kinds else 0.3, late=late, fault=fault)
    return outcome


def test_a_bundle_that_judges_well_holds_after_its_parts() -> None:
    probation = Probation(LIMITS, 0.3)
    assert feed(probation, 19) is None
    outcome = feed(probation, 1)
    assert outcome is not None
    assert outcome.held


def test_faults_lateness_and_indecision_end_probation_before_its_parts() -> None:
    for kinds, parts in (({"fault": True}, 2), ({"late": True}, 5), ({"undecided": True}, 3)):
        probation = Probation(LIMITS, 0.3)
        assert feed(probation, parts - 1, **kinds) is None
        outcome = feed(probation, 1, **kinds)
        assert outcome is not None, kinds
        assert not outcome.held


def test_scores_far_from_the_reference_end_probation() -> None:
    outcome = feed(Probation(LIMITS, 0.9), 20)
    assert outcome is not None
    assert not outcome.held
    assert "0.900" in outcome.reason


def test_a_quota_refills_by_the_hour() -> None:
    quota = Quota(2)
    assert [quota.take(0), quota.take(0), quota.take(0)] == [True, True, False]
    assert not quota.take(1700)
    assert quota.take(1801)


def choose(policy: SamplePolicy, part: int, verdict: Verdict, score: float, *, requested: bool = False) -> str | None:  # fmt: skip
    return policy.choose(
        part, verdict, score, threshold=0.5, near_margin=0.1, requested=requested, now_s=0.0
    )


def test_rejects_and_near_scores_are_samples_and_others_are_not() -> None:
    policy = SamplePolicy(SamplesConfig(audit_share=0), "seed", [])
    assert choose(policy, 1, Verdict.REJECT, 0.9) == "reject"
    assert choose(policy, 2, Verdict.ACCEPT, 0.45) == "near_threshold"
    assert choose(policy, 3, Verdict.ACCEPT, 0.1) is None
    assert choose(policy, 4, Verdict.ACCEPT, 0.1, requested=True) == "requested"


def test_the_audit_share_is_random_but_the_same_part_is_chosen_again() -> None:
    config = SamplesConfig(audit_share=0.2, audit_per_hour=10_000)
    chosen = [
        [n for n in range(2000) if choose(SamplePolicy(config, "s", []), n, Verdict.ACCEPT, 0.1)]
        for _ in range(2)
    ]
    assert chosen[0] == chosen[1]
    assert 300 < len(chosen[0]) < 500


def test_what_is_in_flight_is_sent_again_only_after_the_timeout() -> None:
    flight = InFlight(Budget(10, 2), timeout_s=10)
    flight.published(5, now_s=0)
    assert not flight.overdue(9, 0)
    flight.ack(3, now_s=9)
    assert not flight.overdue(18, 0)
    assert flight.overdue(19.5, 0)
    assert (flight.sent, flight.acked) == (3, 3)
    assert not flight.overdue(100, 0)


def test_an_ack_never_goes_back() -> None:
    flight = InFlight(Budget(10, 2), timeout_s=10)
    flight.published(5, 0)
    flight.ack(5, 1)
    flight.ack(2, 2)
    assert (flight.sent, flight.acked) == (5, 5)


def test_what_is_new_goes_ahead_of_a_backlog_until_the_backlog_has_come_up_to_it() -> None:
    flight = InFlight(Budget(10, 2), timeout_s=10)
    flight.look(2)
    assert not flight.behind, "as few as that are sent at once"
    flight.look(30)
    assert (flight.behind, flight.ahead_from, flight.room_ahead) == (True, 30, 2)
    flight.published_ahead(30, 1)
    flight.published(10, 0)
    assert (flight.room, flight.room_ahead) == (0, 1)
    assert flight.ack(10, 1)
    flight.heard()
    assert (flight.room, flight.room_ahead) == (10, 2), "the server's word frees both lanes"
    flight.published_ahead(31, 1)
    flight.published(20, 2)
    flight.ack(20, 3)
    flight.published(29, 4)
    assert (flight.behind, flight.sent) == (False, 31), "what went ahead is not sent again"


def test_what_went_ahead_and_was_lost_is_sent_again() -> None:
    flight = InFlight(Budget(10, 2), timeout_s=10)
    flight.look(5)
    flight.published_ahead(5, 1)
    flight.published(4, 0)
    flight.ack(4, 1)
    assert flight.overdue(12, 0)
    assert (flight.sent, flight.behind, flight.resends) == (4, False, 1)


def test_time_on_the_way_to_the_broker_is_not_the_servers() -> None:
    flight = InFlight(Budget(10, 2), timeout_s=10)
    flight.published(5, 0)
    flight.leaving(60)
    assert not flight.overdue(69, 0)
    assert flight.overdue(71, 0)


def test_a_rate_limit_lets_a_seconds_worth_pass_at_once_and_then_the_rate() -> None:
    limit, sent, now_s = RateLimit(1000, 0.0), [], 0.0
    while now_s < 20:
        while limit.open(now_s):
            limit.spend(300)
            sent.append(300)
        now_s += 0.1
    assert 20_000 <= sum(sent) <= 20_000 + 1000 + 300


def test_what_overdraws_the_rate_is_paid_before_the_next() -> None:
    limit = RateLimit(1000, 0.0)
    limit.spend(5000)
    assert not limit.open(3.9)
    assert limit.open(4.1)
    free = RateLimit(None, 0.0)
    free.spend(10**9)
    assert free.open(0.0)


def test_a_takeover_is_told_from_an_outage() -> None:
    watch = TakeoverWatch()
    assert [watch.ended(0.5, t) for t in (0, 5, 10)] == [False, False, True]
    watch = TakeoverWatch()
    assert not any(watch.ended(lasted, t) for lasted, t in ((0.5, 0), (300, 400), (0.5, 410)))


def test_waits_grow_to_a_bound_and_begin_anew_after_success() -> None:
    backoff = Backoff(1, 20, seed=1)
    waits = [backoff.next() for _ in range(10)]
    assert waits[0] <= 1
    assert all(10 <= wait <= 20 for wait in waits[6:])
    backoff.reset()
    assert backoff.next() <= 1


def test_part_numbers_go_on_when_the_cameras_counter_restarts() -> None:
    progress = Progress().at(7).at(8)
    assert progress.part == 8
    assert list(progress.missing(11)) == [9, 10]
    again = progress.restarted()
    assert list(again.missing(2)) == [1]
    assert again.at(1).part == 9
    assert list(Progress().missing(500)) == []


def test_what_the_start_made_is_not_looked_at_for_garbage_again() -> None:
    kept = [[number] for number in range(1000)]
    health.settle_memory()
    try:
        looked_at = {id(one) for one in gc.get_objects()}
        assert not looked_at & {id(one) for one in kept}
    finally:
        gc.unfreeze()
