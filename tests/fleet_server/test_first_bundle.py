"""A line without a champion: its first bundle in shadow of the people or the system that judge today."""

from pathlib import Path

import pytest

from fleet_contract.errors import StateError
from fleet_server.labels.models import Sample
from fleet_server.registry.models import Line
from fleet_server.rollouts import service
from fleet_server.rollouts.controller import Controller
from tests.support.deploy import LINE, Deploy

SHADOW = {"name": "shadow", "min_parts": 60, "horizon_s": 300, "look_every_s": 1}
PLAN = {"stages": [SHADOW, {"name": "all", "min_parts": 0, "look_every_s": 1}]}


class Fleet:
    """Three devices with the line's first bundle in shadow."""

    def __init__(self, folder: Path) -> None:
        self.deploy = Deploy(folder)
        self.controller = Controller(self.deploy.services)
        self.digest = self.deploy.approved()
        self.number = self.deploy.start(self.digest, PLAN)
        self.tick()
        for device in self.deploy.devices:
            self.deploy.report(self.number, device, "shadow")

    def tick(self, seconds: float = 1.0) -> None:
        self.deploy.clock.advance(seconds)
        self.deploy.heard()
        self.controller.tick()

    def paired(self, pairs: int, disagreements: int, *, judge: bool = True) -> None:
        """A window of each device."""
        for device in self.deploy.devices:
            self.deploy.window(
                device, None if judge else self.digest, pairs, 0, candidate=self.digest,
                disagreements=disagreements,
            )  # fmt: skip
        self.tick(2)

    def slots(self) -> list[str]:
        """What the devices are assigned."""
        director = self.deploy.services.trust.director
        return [
            entry.assignment.slot
            for name in self.deploy.devices
            for entry in director.assigned(name)
        ]

    def labelled(self, *, judge_right: int) -> None:
        """Disagreements that people looked at: the judge rejected rightly, the candidate did not."""
        with self.deploy.services.database.write() as session:
            for number in range(judge_right):
                session.add(
                    Sample(
                        sample_id=f"s{number}", device="a", spool_id="s", line=LINE, camera="c",
                        part=number, why="disagreement", verdict="reject", digest=None,
                        candidate_digest=self.digest, candidate_verdict="accept", blob="0" * 64,
                        length=1, time_s=0.0, received_at=0.0, label="defect",
                    )
                )  # fmt: skip
        self.tick(2)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_a_first_bundle_that_agrees_with_who_judges_today_becomes_the_champion(
    fleet: Fleet,
) -> None:
    assert fleet.slots() == ["shadow"] * 3
    fleet.paired(30, 1)
    assert fleet.slots() == ["active"] * 3
    for device in fleet.deploy.devices:
        fleet.deploy.report(fleet.number, device, "committed")
    fleet.tick(6)
    with fleet.deploy.services.database.read() as session:
        assert session.get_one(Line, LINE).champion == fleet.digest
        shadow = next(d for d in service.decisions(session, fleet.number) if d.stage == 0)
    assert shadow.numbers["unpaired"] == 6
    assert shadow.numbers["judge_right"] == 0


def test_without_a_pair_the_gate_asks_for_todays_judge(fleet: Fleet) -> None:
    fleet.tick(6)
    with fleet.deploy.services.database.read() as session:
        last = service.decisions(session, fleet.number)[0]
    assert last.decision == "hold"
    assert "do the stations have a [judge]?" in last.text


def test_pairs_with_a_bundle_say_nothing_of_who_judges_today(fleet: Fleet) -> None:
    fleet.paired(30, 1, judge=False)
    assert fleet.slots() == ["shadow"] * 3


def test_people_who_find_todays_judge_right_send_the_first_bundle_back(fleet: Fleet) -> None:
    fleet.paired(30, 10)
    assert fleet.deploy.rollout(fleet.number).state == "running"
    fleet.labelled(judge_right=9)
    rollout = fleet.deploy.rollout(fleet.number)
    assert rollout.state == "rolled_back"
    assert rollout.reason == "people found the judge right on 9 of 9 disagreements"
    assert fleet.slots() == [], "nothing to go back to: devices keep what they have"


def test_a_first_bundle_has_no_canary(tmp_path: Path) -> None:
    deploy = Deploy(tmp_path)
    plan = {"stages": [{"name": "canary", "share": 0.05}, {"name": "all"}]}
    with pytest.raises(StateError, match="before it `shadow` where people or a system judge"):
        deploy.start(deploy.approved(), plan)
