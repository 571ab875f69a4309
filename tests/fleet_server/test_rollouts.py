"""Rollouts from start to end, by the controller's ticks over a real database and real repositories."""

import json
from pathlib import Path

import pytest

from fleet_contract.errors import ConfigError, StateError, TrustError
from fleet_server.audit.service import verify
from fleet_server.registry.models import Device, Line
from fleet_server.releases import service as releases
from fleet_server.rollouts import service
from fleet_server.rollouts.controller import Controller
from fleet_server.rollouts.machine import TABLE, TERMINAL, RolloutEvent, RolloutState, step
from fleet_server.rollouts.plan import Stage, choose, parse_plan
from tests.support.deploy import LINE, Deploy, archive

SHADOW = {"name": "shadow", "min_parts": 60, "horizon_s": 300, "look_every_s": 1}
CANARY = {
    "name": "canary", "devices": ["a"], "min_parts": 20, "horizon_s": 300, "look_every_s": 1,
}  # fmt: skip
ALL = {"name": "all", "min_parts": 0, "look_every_s": 1}
PLAN = {"stages": [SHADOW, CANARY, ALL]}


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    return Deploy(tmp_path)


class Fleet:
    """The controller beside the bench; `tick` turns the clock by a second."""

    def __init__(self, deploy: Deploy) -> None:
        self.deploy, self.controller = deploy, Controller(deploy.services)

    def tick(self, seconds: float = 1.0) -> None:
        self.deploy.clock.advance(seconds)
        self.deploy.heard()
        self.controller.tick()

    def assigned(self, device: str) -> tuple[str, str, int] | None:
        """Digest, slot and attempt in the director's published metadata."""
        entries = self.deploy.services.trust.director.assigned(device)
        if not entries:
            return None
        [entry] = entries
        return entry.digest, entry.assignment.slot, entry.assignment.attempt


@pytest.fixture
def fleet(deploy: Deploy) -> Fleet:
    return Fleet(deploy)


@pytest.fixture
def pair(deploy: Deploy) -> tuple[str, str]:
    """A champion and a challenger, both approved."""
    champion, challenger = deploy.approved(1), deploy.approved(2)
    deploy.champion(champion)
    return champion, challenger


def in_shadow(fleet: Fleet, pair: tuple[str, str], disagreements: int = 0) -> int:
    """A rollout whose devices run the challenger as shadow and have judged 30 parts each."""
    number = fleet.deploy.start(pair[1], PLAN)
    fleet.tick()
    for device in fleet.deploy.devices:
        fleet.deploy.report(number, device, "shadow")
    fleet.tick()
    for device in fleet.deploy.devices:
        fleet.deploy.window(device, pair[0], 30, 6, candidate=pair[1], disagreements=disagreements)
    return number


def in_canary(fleet: Fleet, pair: tuple[str, str]) -> int:
    number = in_shadow(fleet, pair)
    fleet.tick()
    fleet.deploy.report(number, "a", "committed")
    fleet.tick()
    return number


def test_terminal_states_never_change() -> None:
    for state in TERMINAL:
        for event in RolloutEvent:
            with pytest.raises(StateError, match="the state is final"):
                step(state, event)


def test_every_state_but_the_terminal_ones_can_be_aborted() -> None:
    for state in set(RolloutState) - TERMINAL:
        assert TABLE[(state, RolloutEvent.ABORT)] == RolloutState.ABORTED


@pytest.mark.parametrize("names", [["canary", "shadow", "all"], ["shadow"], ["all", "all"]])
def test_stages_out_of_order_are_refused(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="stages go shadow, canary, all"):
        parse_plan({"stages": [{"name": name} for name in names]})


def test_a_misspelt_limit_is_named() -> None:
    with pytest.raises(ConfigError, match="min_partz"):
        parse_plan({"stages": [{"name": "all", "min_partz": 3}]})


def test_a_number_of_devices_is_drawn_the_same_way_each_time() -> None:
    names = [f"d{n}" for n in range(20)]
    stage = Stage(name="canary", devices=5)
    assert choose(stage, names, "7") == choose(stage, names[::-1], "7")
    assert len({tuple(choose(stage, names, str(seed))) for seed in range(20)}) > 10


def test_a_stage_that_names_a_strange_device_is_refused(
    deploy: Deploy, pair: tuple[str, str]
) -> None:
    plan = {"stages": [{"name": "canary", "devices": ["x"]}, ALL]}
    with pytest.raises(ConfigError, match="not of the line; found x"):
        deploy.start(pair[1], plan)


def test_a_release_with_one_signature_does_not_roll_out(deploy: Deploy) -> None:
    digest = releases.submit(deploy.services, "test", archive()).digest
    deploy.sign(digest, "pipeline.pem")
    with pytest.raises(TrustError, match="expected signatures of 2 keys; found 1"):
        deploy.start(digest)


def test_a_rollout_may_wait_for_the_approval(fleet: Fleet) -> None:
    digest = releases.submit(fleet.deploy.services, "test", archive()).digest
    number = fleet.deploy.start(digest, wait=True)
    fleet.tick()
    assert fleet.deploy.rollout(number).state == "awaiting_approval"
    for key in ("pipeline.pem", "approver.pem"):
        fleet.deploy.sign(digest, key)
    fleet.tick()
    assert fleet.deploy.rollout(number).state == "running"


def test_the_first_bundle_goes_to_all_and_becomes_the_champion(fleet: Fleet) -> None:
    digest = fleet.deploy.approved()
    number = fleet.deploy.start(digest)
    fleet.tick()
    assert fleet.assigned("b") == (digest, "active", 1)
    for device in fleet.deploy.devices:
        fleet.deploy.report(number, device, "committed")
    fleet.tick(6)
    assert fleet.deploy.rollout(number).state == "completed"
    with fleet.deploy.services.database.read() as session:
        assert session.get_one(Line, LINE).champion == digest
        assert verify(session).whole


def test_a_line_without_champion_has_nothing_to_shadow(deploy: Deploy) -> None:
    with pytest.raises(StateError, match="no champion to compare with"):
        deploy.start(deploy.approved(), PLAN)


def test_one_rollout_a_line_at_a_time(deploy: Deploy, pair: tuple[str, str]) -> None:
    deploy.start(pair[1], PLAN)
    with pytest.raises(StateError, match=r"has rollout \d+ under way"):
        deploy.start(deploy.approved(3), PLAN)


def test_a_good_challenger_goes_through_every_stage(fleet: Fleet, pair: tuple[str, str]) -> None:
    number = in_shadow(fleet, pair)
    assert fleet.assigned("c") == (pair[1], "shadow", 1)
    fleet.tick()
    assert fleet.assigned("a") == (pair[1], "canary", 1)
    assert fleet.assigned("b") == (pair[1], "shadow", 1)
    fleet.deploy.report(number, "a", "committed")
    fleet.tick()
    fleet.deploy.window("a", pair[1], 40, 8)
    fleet.deploy.window("b", pair[0], 40, 8)
    fleet.tick(2)
    assert fleet.assigned("b") == (pair[1], "active", 1)
    for device in ("b", "c"):
        fleet.deploy.report(number, device, "committed")
    fleet.tick(2)
    assert fleet.deploy.rollout(number).state == "completed"
    with fleet.deploy.services.database.read() as session:
        taken = [d.decision for d in service.decisions(session, number) if d.decision != "hold"]
        canary = next(d for d in service.decisions(session, number) if d.stage == 1)
    assert taken == ["promote"] * 3
    assert "guard_only" in canary.text


def test_a_failed_self_test_brings_the_champion_back(fleet: Fleet, pair: tuple[str, str]) -> None:
    number = fleet.deploy.start(pair[1], PLAN)
    fleet.tick()
    fleet.deploy.report(
        number, "b", "failed", failure="self_test", reason="golden 2: accept instead of reject"
    )
    fleet.tick()
    rollout = fleet.deploy.rollout(number)
    assert rollout.state == "rolled_back"
    assert "b: self_test (golden 2" in rollout.reason
    assert [fleet.assigned(d) for d in fleet.deploy.devices] == [(pair[0], "active", 1)] * 3


def test_a_failure_of_another_attempt_is_not_this_ones(fleet: Fleet, pair: tuple[str, str]) -> None:
    first = fleet.deploy.start(pair[1], PLAN)
    fleet.tick()
    fleet.deploy.report(first, "b", "failed", failure="network")
    fleet.tick()
    second = fleet.deploy.start(pair[1], PLAN)
    fleet.deploy.report(first, "b", "failed", failure="network")
    fleet.tick()
    assert fleet.deploy.rollout(second).state == "running"
    assert fleet.assigned("b") == (pair[1], "shadow", 2)


def test_a_refused_assignment_counts_as_a_failure(fleet: Fleet, pair: tuple[str, str]) -> None:
    number = fleet.deploy.start(pair[1], PLAN)
    fleet.deploy.event("c", "refused", pair[1], "its epoch lies below", {"class": "trust"})
    fleet.tick()
    assert fleet.deploy.rollout(number).state == "rolled_back"


def test_a_device_that_says_nothing_counts_as_failed(fleet: Fleet, pair: tuple[str, str]) -> None:
    number = fleet.deploy.start(pair[1], PLAN)
    for _ in range(4):
        fleet.deploy.clock.advance(60)
        fleet.deploy.heard("a", "b")
        fleet.controller.tick()
    rollout = fleet.deploy.rollout(number)
    assert rollout.state == "rolled_back"
    assert "c: silent (not heard of for 240 s)" in rollout.reason


def test_a_clock_that_is_set_is_not_held_against_devices(
    fleet: Fleet, pair: tuple[str, str]
) -> None:
    number = in_shadow(fleet, pair)
    fleet.deploy.clock.set_wrong(10_000)
    fleet.controller.tick()
    assert fleet.deploy.rollout(number).state == "running"


def test_an_outage_of_the_server_is_not_held_against_devices(
    fleet: Fleet, pair: tuple[str, str]
) -> None:
    number = in_shadow(fleet, pair)
    fleet.deploy.clock.advance(10_000)
    fleet.deploy.reopen()
    again = Fleet(fleet.deploy)
    again.controller.tick()
    assert fleet.deploy.rollout(number).state == "running"
    again.tick(290)
    assert fleet.deploy.rollout(number).stage == 1


def test_an_outage_of_the_broker_is_not_held_against_devices(
    fleet: Fleet, pair: tuple[str, str]
) -> None:
    number = fleet.deploy.start(pair[1], PLAN)
    fleet.deploy.recorder.connected = False
    for _ in range(10):
        fleet.deploy.clock.advance(1000)
        fleet.controller.tick()
    fleet.deploy.recorder.connected = True
    fleet.deploy.clock.advance(100)
    fleet.controller.tick()
    assert fleet.deploy.rollout(number).state == "running"


def test_a_bundle_that_was_taken_back_on_the_device_counts_as_failed(
    fleet: Fleet, pair: tuple[str, str]
) -> None:
    number = in_canary(fleet, pair)
    fleet.deploy.runs("a", pair[1])
    fleet.tick()
    assert fleet.deploy.rollout(number).state == "running"
    fleet.deploy.runs("a", pair[0])
    fleet.tick()
    assert "a: rolled_back (the device does not run it" in fleet.deploy.rollout(number).reason


def test_a_device_that_never_gets_there_counts_as_failed(
    fleet: Fleet, pair: tuple[str, str]
) -> None:
    stage = {**SHADOW, "update_timeout_s": 30}
    number = fleet.deploy.start(pair[1], {"stages": [stage, ALL]})
    for device in ("a", "b"):
        fleet.deploy.report(number, device, "shadow")
    fleet.deploy.report(number, "c", "fetching")
    fleet.tick(29)
    assert fleet.deploy.rollout(number).state == "running"
    fleet.tick(2)
    assert "c: silent (still fetching after 31 s)" in fleet.deploy.rollout(number).reason


def test_disagreement_waits_for_labels_and_labels_decide(
    fleet: Fleet, pair: tuple[str, str]
) -> None:
    number = in_shadow(fleet, pair, disagreements=20)
    fleet.tick()
    assert fleet.deploy.rollout(number).stage == 0
    fleet.deploy.reviewed(*pair, challenger_right=9)
    fleet.tick()
    assert fleet.deploy.rollout(number).stage == 1


def test_disagreement_without_labels_is_taken_back_at_the_horizon(
    fleet: Fleet, pair: tuple[str, str]
) -> None:
    number = in_shadow(fleet, pair, disagreements=20)
    fleet.tick(290)
    assert fleet.deploy.rollout(number).state == "running"
    fleet.tick(15)
    assert fleet.deploy.rollout(number).state == "rolled_back"


def test_an_inconclusive_stage_pauses_where_the_plan_says_so(
    fleet: Fleet, pair: tuple[str, str]
) -> None:
    stage = {**SHADOW, "inconclusive": "pause", "horizon_s": 10}
    number = fleet.deploy.start(pair[1], {"stages": [stage, ALL]})
    fleet.tick(11)
    rollout = fleet.deploy.rollout(number)
    assert (rollout.state, rollout.reason[:12]) == ("paused", "inconclusive")
    fleet.tick(100)
    with fleet.deploy.services.database.write() as session:
        service.resume(session, fleet.deploy.clock.time(), "anna", number)
    fleet.tick()
    assert fleet.deploy.rollout(number).state == "running"


def test_a_canary_that_rejects_too_much_goes_back(fleet: Fleet, pair: tuple[str, str]) -> None:
    for device in ("a", "b"):
        fleet.deploy.window(device, pair[0], 200, 40)
    number = in_canary(fleet, pair)
    fleet.deploy.window("a", pair[1], 100, 90)
    fleet.deploy.window("b", pair[0], 200, 40)
    fleet.tick(2)
    rollout = fleet.deploy.rollout(number)
    assert rollout.state == "rolled_back"
    assert rollout.reason.startswith("rejects: 90 in 100 parts on the canary")
    assert fleet.assigned("a") == (pair[0], "active", 1)


def test_an_aborted_rollout_reverts_unless_told_to_keep(
    fleet: Fleet, pair: tuple[str, str]
) -> None:
    number = in_canary(fleet, pair)
    with fleet.deploy.services.database.write() as session:
        service.abort(session, fleet.deploy.clock.time(), "anna", number, keep=True)
    fleet.tick()
    assert fleet.assigned("a") == (pair[1], "canary", 1)
    assert fleet.assigned("b") == (pair[0], "active", 1)


def test_a_device_that_comes_later_is_given_the_champion(fleet: Fleet) -> None:
    digest = fleet.deploy.approved()
    number = fleet.deploy.start(digest)
    for device in fleet.deploy.devices:
        fleet.deploy.report(number, device, "committed")
    fleet.tick(6)
    with fleet.deploy.services.database.write() as session:
        session.add(Device(name="late", certificate_pem="", line=LINE))
    fleet.tick()
    assert fleet.assigned("late") == (digest, "active", 2)


def test_the_signed_state_alone_is_enough(fleet: Fleet) -> None:
    digest = fleet.deploy.approved()
    number = fleet.deploy.start(digest)
    for device in fleet.deploy.devices:
        fleet.deploy.runs(device, digest)
    fleet.tick(6)
    assert fleet.deploy.rollout(number).state == "completed"


def test_devices_are_told_to_look_when_their_list_changes(
    fleet: Fleet, pair: tuple[str, str]
) -> None:
    fleet.deploy.start(pair[1], PLAN)
    fleet.tick()
    fleet.tick()
    told = fleet.deploy.recorder.of("desired")
    assert [levels["device"] for levels, _ in told] == ["a", "b", "c"]
    assert {json.loads(payload)["director_version"] for _, payload in told} == {1}


def test_one_devices_damaged_metadata_do_not_hold_up_the_others(
    fleet: Fleet, pair: tuple[str, str]
) -> None:
    number = in_shadow(fleet, pair)
    damaged = fleet.deploy.folder / "trust" / "director" / "a" / "timestamp.json"
    damaged.write_bytes(b"")
    fleet.deploy.reopen()
    again = Fleet(fleet.deploy)
    again.controller.start()
    with fleet.deploy.services.database.write() as session:
        service.abort(session, fleet.deploy.clock.time(), "anna", number)
    again.tick()
    assert again.assigned("b") == (pair[0], "active", 1)
    assert fleet.deploy.services.failures["director"] > 0


def test_killed_between_the_database_and_the_director_the_next_start_publishes(
    fleet: Fleet, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = in_shadow(fleet, pair)
    with monkeypatch.context() as killed:
        killed.setattr(Controller, "_publish_due", _killed)
        with pytest.raises(KeyboardInterrupt):
            fleet.tick()
    assert fleet.deploy.rollout(number).stage == 1
    assert fleet.assigned("a") == (pair[1], "shadow", 1)
    fleet.deploy.reopen()
    again = Fleet(fleet.deploy)
    again.controller.start()
    assert again.assigned("a") == (pair[1], "canary", 1)


def test_killed_in_the_middle_of_publishing_the_rest_follows(
    fleet: Fleet, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.deploy.start(pair[1], PLAN)
    director = fleet.deploy.services.trust.director
    genuine, calls = director._publish, []

    def die_at_the_second(device: str, version: int, entries: object) -> int:
        calls.append(device)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return genuine(device, version, entries)  # type: ignore[arg-type]

    monkeypatch.setattr(director, "_publish", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        fleet.tick()
    fleet.deploy.reopen()
    again = Fleet(fleet.deploy)
    again.controller.start()
    assert [again.assigned(d) for d in fleet.deploy.devices] == [(pair[1], "shadow", 1)] * 3


def _killed(*_: object) -> None:
    raise KeyboardInterrupt
