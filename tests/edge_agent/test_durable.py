"""Slots and update state: what each step leaves behind, and how the way back is kept open."""

from pathlib import Path

import pytest

from edge_agent.db import Database
from edge_agent.spool import Spool, Stamp
from edge_agent.update.durable import Durable
from edge_agent.update.machine import Event
from edge_agent.update.target import Target
from fleet_contract.clock import ManualClock
from fleet_contract.errors import StateError
from fleet_contract.messages import EventBody, Stream, UpdateStep
from fleet_contract.names import Slot, UpdateState
from fleet_contract.trust.custom import Assignment, Encoding, ImageCustom

LINE = "watch-case"


def target(
    letter: str, *, slot: str = "active", attempt: int = 1, epoch: int = 1, share: int | None = None
) -> Target:
    encoding = Encoding(
        kind="zstd", digest="0" * 64, length=1, block_size=1024, hashes_digest="1" * 64
    )
    return Target(
        line=LINE, digest=letter * 64, length=1, sha256=letter * 64,
        assignment=Assignment.model_validate(
            {"line": LINE, "slot": slot, "rollout": "r", "attempt": attempt,
             "share_permille": share}
        ),
        image=ImageCustom(line=LINE, epoch=epoch, hardware=["*"], encodings=[encoding]),
    )  # fmt: skip


class Bench:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> None:
        """As after a kill: nothing but the file."""
        db = Database(self.path)
        self.spool = Spool(db, 10**7, lambda: Stamp("boot", 1.0, 2.0, True))
        self.durable = Durable(db, self.spool, ManualClock())

    def go(self, wanted: Target, *events: Event) -> None:
        self.durable.begin(wanted, Event.ASSIGNED)
        for event in events:
            self.open()
            self.durable.advance(wanted, event)

    def slots(self) -> tuple[str, str, str]:
        """First letters of active, previous and candidate."""
        rows = [
            self.durable.slots.get(LINE, s) for s in (Slot.ACTIVE, Slot.PREVIOUS, Slot.CANDIDATE)
        ]
        a, b, c = (row.digest[0] if row else "-" for row in rows)
        return a, b, c

    def state(self) -> UpdateState:
        update = self.durable.update(LINE)
        assert update is not None
        return update.state


E = Event
TO_TRIAL = (E.FETCHED, E.UNPACKED, E.TRIED)
TO_PROBATION = (*TO_TRIAL, E.PASSED, E.EXCHANGED)
TO_COMMITTED = (*TO_PROBATION, E.HELD)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "agent.db")


def test_a_committed_bundle_becomes_the_previous_of_the_next(bench: Bench) -> None:
    bench.go(target("a", epoch=3), *TO_COMMITTED)
    assert (bench.slots(), bench.durable.memory.floor(LINE)) == (("a", "-", "-"), 3)
    bench.go(target("b", epoch=3), *TO_PROBATION)
    assert bench.slots() == ("b", "a", "-")


def test_the_floor_rises_with_the_commit_and_not_before(bench: Bench) -> None:
    bench.go(target("a", epoch=5), *TO_PROBATION)
    assert bench.durable.memory.floor(LINE) == 0
    bench.durable.advance(target("a", epoch=5), E.HELD)
    assert bench.durable.memory.floor(LINE) == 5


def test_probation_that_fails_leaves_the_bundle_from_before(bench: Bench) -> None:
    bench.go(target("a"), *TO_COMMITTED)
    bench.go(target("b"), *TO_PROBATION)
    bench.durable.advance(target("b"), E.REVERTED, failure="probation", reason="faults")
    assert bench.slots() == ("a", "-", "-")
    assert bench.durable.memory.outcome(LINE, "b" * 64, 1) == "rolled_back"
    assert bench.durable.view(target("b")).tried
    assert not bench.durable.view(target("b", attempt=2)).tried


def test_a_first_bundle_that_fails_probation_leaves_the_line_without_one(bench: Bench) -> None:
    bench.go(target("a"), *TO_PROBATION)
    bench.durable.advance(target("a"), E.REVERTED)
    assert bench.slots() == ("-", "-", "-")


def test_a_bundle_that_was_not_committed_never_becomes_the_previous_one(bench: Bench) -> None:
    bench.go(target("a"), *TO_COMMITTED)
    bench.go(target("b"), *TO_PROBATION)
    bench.durable.roll_back(LINE, "the server ordered it")
    bench.go(target("c"), *TO_PROBATION)
    assert bench.slots() == ("c", "a", "-")


def test_a_candidate_lies_in_its_slot_while_it_is_in_shadow(bench: Bench) -> None:
    bench.go(target("a"), *TO_COMMITTED)
    shadow = target("b", slot="shadow")
    bench.go(shadow, *TO_TRIAL, E.SHADOWED)
    assert bench.slots() == ("a", "-", "b")
    bench.durable.relabel(target("b", slot="canary"))
    bench.durable.advance(target("b", slot="canary"), E.PROMOTED)
    assert bench.slots() == ("a", "-", "-")


def in_canary(bench: Bench) -> Target:
    """The second bundle has 5 % of the parts."""
    bench.go(target("a"), *TO_COMMITTED)
    shared = target("b", slot="canary", share=50)
    bench.go(shared, *TO_TRIAL, E.ALLOTTED)
    return shared


def test_a_share_outlives_a_kill_and_is_reported_until_it_is_the_whole(bench: Bench) -> None:
    in_canary(bench)
    bench.durable.relabel(target("b", slot="canary", share=250))
    bench.open()
    line = bench.durable.line_state(LINE, inspecting=True)
    assert line.candidate is not None
    assert line.update is not None
    assert (bench.slots(), line.candidate.share, line.update.share) == (("a", "-", "b"), 0.25, 0.25)
    bench.durable.advance(target("b", slot="canary"), E.PROMOTED)
    line = bench.durable.line_state(LINE, inspecting=True)
    assert line.update is not None
    assert (bench.slots(), bench.state(), line.update.share) == (
        ("a", "-", "-"),
        "activating",
        None,
    )


def test_a_share_that_is_given_back_leaves_active_and_previous_as_they_are(bench: Bench) -> None:
    bench.go(target("f"), *TO_COMMITTED)
    shared = in_canary(bench)
    bench.durable.advance(shared, E.REVERTED, failure="probation", reason="faults")
    assert (bench.slots(), bench.state()) == (("a", "f", "-"), UpdateState.ROLLED_BACK)
    assert bench.durable.view(target("b", slot="canary", share=250)).tried


def test_an_operator_who_rolls_a_canary_back_takes_its_share_and_nothing_else(
    bench: Bench,
) -> None:
    in_canary(bench)
    bench.durable.roll_back(LINE, "an operator's order")
    assert (bench.slots(), bench.state()) == (("a", "-", "-"), UpdateState.ROLLED_BACK)


@pytest.mark.parametrize("event", [E.FAILED, E.SUPERSEDED])
def test_a_candidate_that_leaves_shadow_is_out_of_its_slot(bench: Bench, event: Event) -> None:
    bench.go(target("a"), *TO_COMMITTED)
    bench.go(target("b", slot="shadow"), *TO_TRIAL, E.SHADOWED)
    bench.durable.advance(target("b", slot="shadow"), event)
    assert bench.slots() == ("a", "-", "-")


def test_a_network_failure_is_not_held_against_the_bundle(bench: Bench) -> None:
    bench.go(target("a"))
    bench.durable.advance(target("a"), E.FAILED, failure="network")
    assert not bench.durable.view(target("a")).tried


def test_going_back_to_a_committed_bundle_needs_no_probation(bench: Bench) -> None:
    bench.go(target("a"), *TO_COMMITTED)
    bench.go(target("b"), *TO_COMMITTED)
    assert bench.durable.memory.proven(LINE, "a" * 64)
    bench.go(target("a"), *TO_TRIAL, E.PASSED, E.RETURNED)
    assert (bench.slots(), bench.state()) == (("a", "b", "-"), UpdateState.COMMITTED)


@pytest.mark.parametrize(
    "under_way", [(), TO_TRIAL, (*TO_TRIAL, E.SHADOWED), (*TO_TRIAL, E.PASSED)]
)
def test_an_operator_may_roll_back_whatever_is_under_way(
    bench: Bench, under_way: tuple[Event, ...]
) -> None:
    bench.go(target("a"), *TO_COMMITTED)
    bench.go(target("b"), *TO_COMMITTED)
    bench.go(target("c", slot="shadow"), *under_way)
    bench.durable.roll_back(LINE, "an operator's order")
    assert (bench.slots(), bench.state()) == (("a", "-", "-"), UpdateState.SUPERSEDED)
    assert bench.durable.view(target("b")).tried


def test_without_a_previous_bundle_there_is_no_way_back(bench: Bench) -> None:
    bench.go(target("a"), *TO_COMMITTED)
    with pytest.raises(StateError, match="no previous bundle"):
        bench.durable.roll_back(LINE, "an operator's order")
    assert bench.slots() == ("a", "-", "-")


def test_a_step_of_an_update_that_is_gone_is_refused_and_changes_nothing(bench: Bench) -> None:
    bench.go(target("a"))
    bench.durable.advance(target("a"), E.SUPERSEDED)
    bench.go(target("b"))
    with pytest.raises(StateError, match="another one"):
        bench.durable.advance(target("a"), E.FETCHED)
    with pytest.raises(StateError, match="cannot be"):
        bench.durable.advance(target("b"), E.HELD)
    assert bench.state() is UpdateState.FETCHING


def test_each_step_is_told_in_the_same_transaction(bench: Bench) -> None:
    bench.go(target("a"), *TO_COMMITTED)
    entries = bench.spool.pending(Stream.EVENTS, 0, 100, 10**6)
    bodies = [EventBody.model_validate(entry.record.body) for entry in entries]
    states = [UpdateStep.model_validate(body.data).state for body in bodies]
    assert states == [
        "fetching", "verified", "staged", "self_test", "activating", "probation", "committed",
    ]  # fmt: skip


def test_deaths_are_counted_in_one_state_and_forgotten_by_the_next(bench: Bench) -> None:
    bench.go(target("a"), *TO_PROBATION)
    assert [bench.durable.count_death(target("a")) for _ in range(2)] == [1, 2]
    bench.durable.advance(target("a"), E.HELD)
    update = bench.durable.update(LINE)
    assert update is not None
    assert update.deaths == 0


def test_a_probation_that_is_interrupted_begins_anew_from_the_bundle_before(bench: Bench) -> None:
    bench.go(target("a", epoch=3), *TO_COMMITTED)
    bench.go(target("b", epoch=4), *TO_PROBATION)
    bench.durable.count_death(target("b"))
    bench.durable.advance(target("b"), E.INTERRUPTED)
    assert (bench.slots(), bench.state()) == (("a", "-", "-"), UpdateState.ACTIVATING)
    assert not bench.durable.view(target("b")).tried
    bench.durable.advance(target("b"), E.EXCHANGED)
    assert bench.slots() == ("b", "a", "-")
    assert bench.durable.count_death(target("b")) == 2, "it is the same trial that goes on"
    assert bench.durable.memory.floor(LINE) == 3


def test_what_is_being_fetched_stays_over_a_restart_and_goes_with_its_update(bench: Bench) -> None:
    bench.go(target("a"))
    assert bench.durable.arriving() == {"a" * 64, "0" * 64}
    bench.durable.advance(target("a"), E.FETCHED)
    assert bench.durable.arriving() == {"a" * 64, "0" * 64}
    bench.durable.advance(target("a"), E.UNPACKED)
    assert (bench.durable.arriving(), bench.durable.needed()) == (set(), {"a" * 64})
    bench.durable.advance(target("a"), E.FAILED, failure="self_test")
    assert bench.durable.needed() == set()
