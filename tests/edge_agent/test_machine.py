"""The update's table and the plan, exhaustively."""

import itertools

import pytest

from edge_agent.update.machine import BEFORE_EXCHANGE, TABLE, TERMINAL, Event, next_state
from edge_agent.update.plan import Order, Step, View, plan
from fleet_contract.errors import StateError
from fleet_contract.names import UpdateState


@pytest.mark.parametrize(("state", "event"), list(itertools.product(UpdateState, Event)))
def test_every_pair_is_a_step_or_a_clear_refusal(state: UpdateState, event: Event) -> None:
    if (state, event) in TABLE:
        assert next_state(state, event) in UpdateState
    else:
        with pytest.raises(StateError, match=f"{state} cannot be {event}"):
            next_state(state, event)


def test_every_state_can_be_reached_and_left() -> None:
    reached = set(TABLE.values()) | {UpdateState.IDLE}
    assert reached == set(UpdateState)
    assert {state for state, _ in TABLE} == set(UpdateState)


def test_every_state_before_the_exchange_may_fail_or_be_superseded() -> None:
    for state in BEFORE_EXCHANGE:
        assert next_state(state, Event.FAILED) is UpdateState.FAILED
        assert next_state(state, Event.SUPERSEDED) is UpdateState.SUPERSEDED


def test_nothing_is_activated_that_was_not_fetched_verified_and_tried() -> None:
    allowed = {UpdateState.FETCHING}
    order = [UpdateState.FETCHING, UpdateState.VERIFIED, UpdateState.STAGED, UpdateState.SELF_TEST]
    for here, there in itertools.pairwise(order):
        sources = {state for (state, _), target in TABLE.items() if target is there}
        assert sources == {here}
        allowed.add(there)
    into = {state for (state, _), target in TABLE.items() if target is UpdateState.ACTIVATING}
    # What is on probation has come that way before.
    assert into == {
        UpdateState.SELF_TEST,
        UpdateState.SHADOW,
        UpdateState.CANARY,
        UpdateState.PROBATION,
    }


def view(**changes: object) -> View:
    fields: dict[str, object] = {
        "active": "a", "previous": "p", "state": UpdateState.IDLE, "update": None, "tried": False,
    }  # fmt: skip
    return View(**{**fields, **changes})  # type: ignore[arg-type]


B = Order("b", 1, "active", "r")


def test_a_new_assignment_begins() -> None:
    assert plan(B, view()) is Step.BEGIN
    for state in TERMINAL:
        assert plan(B, view(state=state, update=Order("c", 1, "active", "q"))) is Step.BEGIN


def test_an_attempt_that_failed_here_is_not_tried_again_but_the_next_is() -> None:
    failed = view(state=UpdateState.FAILED, update=B, tried=True)
    assert plan(B, failed) is Step.NOTHING
    assert (
        plan(Order("b", 2, "active", "r"), view(state=UpdateState.FAILED, update=B)) is Step.BEGIN
    )


def test_what_runs_already_is_settled_once() -> None:
    assert plan(B, view(active="b")) is Step.SETTLE
    assert plan(B, view(active="b", state=UpdateState.COMMITTED, update=B)) is Step.NOTHING


def test_another_assignment_supersedes_what_is_not_yet_active() -> None:
    for state in BEFORE_EXCHANGE:
        assert plan(B, view(state=state, update=Order("c", 1, "active", "q"))) is Step.SUPERSEDE
        assert plan(B, view(state=state, update=B)) is Step.NOTHING


def test_a_candidate_in_shadow_is_promoted_by_its_own_assignment() -> None:
    shadow = view(state=UpdateState.SHADOW, update=Order("b", 1, "shadow", "r"))
    assert plan(Order("b", 1, "canary", "r"), shadow) is Step.PROMOTE
    assert plan(Order("b", 1, "shadow", "r"), shadow) is Step.NOTHING


FIVE = Order("b", 1, "canary", "r", 0.05)


def test_a_candidate_gets_a_share_then_a_larger_one_then_the_whole() -> None:
    shadow = view(state=UpdateState.SHADOW, update=Order("b", 1, "shadow", "r"))
    assert plan(FIVE, shadow) is Step.ALLOT
    canary = view(state=UpdateState.CANARY, update=FIVE)
    assert plan(FIVE, canary) is Step.NOTHING
    assert plan(Order("b", 1, "canary", "r", 0.25), canary) is Step.ALLOT
    assert plan(Order("b", 1, "canary", "q", 0.05), canary) is Step.RELABEL
    assert plan(Order("b", 1, "canary", "r"), canary) is Step.PROMOTE


def test_a_share_that_is_taken_back_ends_the_update_and_the_active_bundle_stays() -> None:
    canary = view(state=UpdateState.CANARY, update=FIVE)
    assert plan(Order("a", 1, "active", "r"), canary) is Step.SUPERSEDE
    assert plan(Order("b", 1, "shadow", "r"), canary) is Step.SUPERSEDE
    activating = view(state=UpdateState.ACTIVATING, update=Order("b", 1, "canary", "r"))
    assert plan(FIVE, activating) is Step.SUPERSEDE


def test_a_slot_that_changes_on_the_way_only_changes_its_name() -> None:
    fetching = view(state=UpdateState.FETCHING, update=Order("b", 1, "shadow", "r"))
    assert plan(B, fetching) is Step.RELABEL


def test_probation_is_left_to_end_unless_the_way_back_is_ordered() -> None:
    probation = view(active="b", previous="a", state=UpdateState.PROBATION, update=B)
    assert plan(Order("c", 1, "active", "q"), probation) is Step.NOTHING
    assert plan(Order("a", 1, "active", "q"), probation) is Step.REVERT
    assert plan(Order("b", 1, "canary", "r"), probation) is Step.RELABEL


@pytest.mark.parametrize("state", list(UpdateState))
@pytest.mark.parametrize("slot", ["active", "canary", "shadow"])
@pytest.mark.parametrize("share", [None, 0.05, 0.25])
@pytest.mark.parametrize("digest", ["a", "b", "p"])
def test_a_plan_only_asks_for_steps_that_the_table_has(
    state: UpdateState, slot: str, share: float | None, digest: str
) -> None:
    events = {
        Step.BEGIN: Event.ASSIGNED, Step.SETTLE: Event.SETTLED,
        Step.SUPERSEDE: Event.SUPERSEDED, Step.PROMOTE: Event.PROMOTED, Step.REVERT: Event.REVERTED,
    }  # fmt: skip
    for update in (None, B, FIVE, Order("b", 1, "shadow", "r"), Order("c", 2, "active", "q")):
        if update is None and state is not UpdateState.IDLE:
            continue
        if update is FIVE and state is UpdateState.SHADOW:
            continue
        step = plan(Order(digest, 1, slot, "r", share), view(state=state, update=update))
        if step is Step.ALLOT and state is not UpdateState.CANARY:
            next_state(state, Event.ALLOTTED)
        if step in events:
            next_state(state, events[step])
