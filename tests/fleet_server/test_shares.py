"""Canaries inside stations: shares that rise stage by stage, and the gate that compares the two arms."""

import math
from pathlib import Path

import numpy as np
import pytest

from fleet_contract.errors import ConfigError
from fleet_contract.messages import LineState, SlotState, UpdateReport
from fleet_contract.names import UpdateState
from fleet_server.rollouts import service
from fleet_server.rollouts.controller import Controller
from fleet_server.rollouts.gates import ArmDevice, Counts, Pairs, Progress
from fleet_server.rollouts.plan import USUAL, Stage, parse_plan
from fleet_server.rollouts.progress import DeviceProgress, Target, observe
from fleet_server.rollouts.shares import share_gate
from fleet_server.rollouts.statistics import Bin, paired_ratio_evidence, rate_ratio_evidence
from tests.support.deploy import Deploy

COMMON = {"name": "canary", "devices": ["a"], "horizon_s": 300, "look_every_s": 1}
FIVE = {**COMMON, "share": 0.05, "min_parts": 20}
QUARTER = {**COMMON, "share": 0.25, "min_parts": 20}
WHOLE = {**COMMON, "min_parts": 20}
ALL = {"name": "all", "min_parts": 0, "look_every_s": 1}
PLAN = {"stages": [FIVE, QUARTER, WHOLE, ALL]}
STAGE = Stage.model_validate({**FIVE, "horizon_s": 600})


class Fleet:
    """The controller beside the bench."""

    def __init__(self, folder: Path) -> None:
        self.deploy = Deploy(folder)
        self.controller = Controller(self.deploy.services)
        self.champion, self.challenger = self.deploy.approved(1), self.deploy.approved(2)
        self.deploy.champion(self.champion)
        self.number = self.deploy.start(self.challenger, PLAN)
        self.tick()

    def tick(self, seconds: float = 1.0) -> None:
        self.deploy.clock.advance(seconds)
        self.deploy.heard()
        self.controller.tick()

    def assigned(self, device: str) -> tuple[str, str, float | None] | None:
        """Digest, slot and share in the director's published metadata."""
        entries = self.deploy.services.trust.director.assigned(device)
        if not entries:
            return None
        [entry] = entries
        return entry.digest, entry.assignment.slot, entry.assignment.share

    def judged(self, parts: int, rejects: int, shared: tuple[int, int], **changes: int) -> None:
        """A window of the canary's station."""
        self.deploy.window(
            "a", self.champion, parts, rejects, candidate=self.challenger, shared=shared, **changes
        )
        self.tick(2)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_the_share_rises_stage_by_stage_to_the_whole_station_and_the_line(fleet: Fleet) -> None:
    shares = []
    for share in (0.05, 0.25):
        shares.append(fleet.assigned("a"))
        fleet.deploy.report(fleet.number, "a", "canary", share=share)
        fleet.judged(100, 10, (12, 1))
        assert fleet.deploy.rollout(fleet.number).stage == len(shares) - 1, "too few parts yet"
        fleet.judged(100, 10, (12, 1))
    assert shares == [(fleet.challenger, "canary", 0.05), (fleet.challenger, "canary", 0.25)]
    assert fleet.assigned("a") == (fleet.challenger, "canary", None)
    assert fleet.assigned("b") is None
    fleet.deploy.report(fleet.number, "a", "committed")
    fleet.deploy.window("a", fleet.challenger, 40, 4)
    fleet.deploy.window("b", fleet.champion, 40, 4)
    fleet.tick(2)
    assert fleet.assigned("b") == (fleet.challenger, "active", None)
    with fleet.deploy.services.database.read() as session:
        made = [d for d in service.decisions(session, fleet.number) if d.decision == "promote"]
    assert [d.numbers.get("share") for d in made[::-1]] == [0.05, 0.25, None]
    assert made[-1].text.startswith("24 parts of the share and 200 others without a sign of harm")


def test_a_share_that_rejects_too_much_goes_back_by_its_own_station(fleet: Fleet) -> None:
    fleet.deploy.window("b", fleet.champion, 400, 200)
    fleet.judged(400, 20, (20, 14), disagreements=13)
    rollout = fleet.deploy.rollout(fleet.number)
    assert rollout.state == "rolled_back"
    assert "14 in 20 parts of the share, 20 in 400 others of the same stations" in rollout.reason
    assert fleet.assigned("a") == (fleet.champion, "active", None)


def test_an_aborted_rollout_that_keeps_bundles_drops_shares(fleet: Fleet) -> None:
    with fleet.deploy.services.database.write() as session:
        service.abort(session, fleet.deploy.clock.time(), "anna", fleet.number, keep=True)
    fleet.tick()
    assert fleet.assigned("a") == (fleet.champion, "active", None)


def test_a_plan_says_what_is_wrong_with_its_shares() -> None:
    for stages, told in (
        ([{"name": "shadow", "share": 0.1}, ALL], "for the stage canary, not for shadow"),
        ([{"name": "canary", "share": 0.0123}, ALL], "whole thousandths; 0.0123"),
        ([QUARTER, FIVE, ALL], "found canary 25 %, canary 5 %, all"),
        ([WHOLE, WHOLE, ALL], "each at most once"),
    ):
        with pytest.raises(ConfigError, match=told):
            parse_plan({"stages": stages})


def test_without_a_plan_a_canary_begins_with_a_twentieth_of_one_station() -> None:
    titles = [stage.title for stage in USUAL.stages]
    assert titles == ["shadow", "canary 5 %", "canary 25 %", "canary", "all"]


def state(share: float | None) -> LineState:
    """The candidate is in canary on that share."""
    slot = SlotState(digest="b" * 64, attempt=1, since_s=0, share=share)
    report = UpdateReport(
        state=UpdateState.CANARY, digest="b" * 64, rollout="7", attempt=1, share=share
    )
    return LineState(candidate=slot, update=report, inspecting=True)


def test_a_device_is_there_when_it_judges_this_share_and_not_the_one_before() -> None:
    target = Target("b" * 64, "7", 1, "canary", 0.25)
    assigned = DeviceProgress("assigned")
    assert observe(assigned, target, [], state(0.05)) == assigned
    assert observe(assigned, target, [], state(0.25)) == DeviceProgress("canary")
    lost = state(0.05).model_copy(
        update={"update": UpdateReport(state=UpdateState.ROLLED_BACK, digest="b" * 64, rollout="7",
                                       attempt=1, share=0.05, failure="probation", reason="late")}
    )  # fmt: skip
    assert observe(assigned, target, [], lost) == DeviceProgress("failed", "probation", "late")


def gate(own: Counts, others: Counts, pairs: Pairs, reviewed: tuple[int, int] = (0, 0)) -> str:
    progress = Progress(("a",), ("a",), (), 60.0)
    arms = [ArmDevice("a", Counts(), (counts,)) for counts in (own, others)]
    return share_gate(STAGE, progress, arms[:1], arms[1:], pairs, reviewed).decision


def test_the_gate_of_a_share_promotes_holds_and_rolls_back() -> None:
    quiet = Pairs(40, 2, only_candidate_rejects=1, both_reject=3)
    assert gate(Counts(40, 4), Counts(800, 80), quiet) == "promote"
    assert gate(Counts(10, 1), Counts(800, 80), quiet) == "hold"
    assert gate(Counts(40, 4, late=9), Counts(800, 80), quiet) == "roll_back"
    assert gate(Counts(40, 9, no_decision=9), Counts(800, 80), quiet) == "roll_back"
    assert gate(Counts(40, 4), Counts(800, 80), quiet, (0, 10)) == "roll_back"


def test_pairs_find_what_is_too_little_for_the_arms() -> None:
    own, others = Counts(40, 12), Counts(760, 76)
    alone = Pairs(40, 8, only_candidate_rejects=8, both_reject=4)
    evidence = paired_ratio_evidence(4, 8, 0, 1.25)
    arms = ArmDevice("a", Counts(), (own,)), ArmDevice("a", Counts(), (others,))
    verdict = share_gate(STAGE, Progress(("a",), (), (), 1.0), [arms[0]], [arms[1]], alone, (0, 0))
    assert verdict.numbers["ln_e"]["rejects"] > 0
    assert evidence > 0


def test_wrong_roll_backs_by_pairs_are_rare_over_many_looks() -> None:
    generator, wrong, runs = np.random.default_rng(7), 0, 120
    for _ in range(runs):
        # The active bundle rejects 8 %, the candidate 1.25 times as many: the edge of what may be.
        draws = generator.random(1000)
        both, candidate, active = (
            np.cumsum((low <= draws) & (draws < high))
            for low, high in ((0, 0.06), (0.06, 0.1), (0.1, 0.12))
        )
        wrong += any(
            paired_ratio_evidence(int(both[n]), int(candidate[n]), int(active[n]), 1.25)
            >= math.log(20)
            for n in range(49, 1000, 50)
        )
    assert wrong / runs <= 0.05


def test_pairs_find_a_doubled_reject_rate_with_fewer_parts_than_two_arms() -> None:
    generator, by_pairs, by_arms = np.random.default_rng(8), 0, 0
    for _ in range(100):
        both, candidate, active, _ = generator.multinomial(400, (0.05, 0.05, 0.0, 0.9))
        by_pairs += paired_ratio_evidence(int(both), int(candidate), int(active), 1.25) > math.log(
            20
        )
        control = int(generator.binomial(7600, 0.05))
        one = Bin(int(both + candidate), control, 400.0, 7600.0)
        by_arms += rate_ratio_evidence([one], 1.25) > math.log(20)
    assert by_pairs > by_arms
    assert by_pairs >= 60
