"""The whole story, by what it left in the databases."""

import json

import pytest

from fleet_contract import archive
from hil.story.facts import check_facts
from hil.story.settings import AGEING, SHORT
from tests.e2e.conftest import Story

pytestmark = pytest.mark.timeout(600)


def test_the_story_ends_well(story: Story) -> None:
    assert story.status == 0, story.output[-4000:]


def test_every_promise_of_the_story_is_in_the_stored_data(story: Story) -> None:
    missing = [fact.text for fact in check_facts(story.report) if not fact.observed]
    assert missing == []


def test_triggers_of_the_cameras_equal_the_stored_verdicts(story: Story) -> None:
    for station in story.report["parts"]["stations"].values():
        assert station["verdicts"] == station["triggers"] > 100
        assert station["counted_twice"] == 0


def test_the_challenger_is_not_worse_than_the_champion_on_the_same_holdout(story: Story) -> None:
    run = next(run for run in story.report["runs"] if run["incident"] is not None)
    assert run["comparison"]["outcome"] in ("better", "not_worse", "undecided")
    assert run["holdout"] > 0


def test_every_gate_shows_the_numbers_that_it_decided_on(story: Story) -> None:
    stages = [stage for rollout in story.report["rollouts"] for stage in rollout["stages"]]
    assert stages
    assert all(stage["numbers"] and stage["text"] for stage in stages)


def test_a_simple_method_on_the_same_holdout_stands_beside_the_first_bundle(story: Story) -> None:
    manifest, files = archive.read((story.folder / "trainer/first.tar").read_bytes())
    evaluation = json.loads(files[manifest.evaluation])
    assert evaluation["baseline"]["image_auroc"] > 0.6
    assert evaluation["geometry"] == "as the configuration says"


def test_the_report_has_every_key_that_readers_rely_on(story: Story) -> None:
    report = story.report
    assert {"inspected", "lost"} <= report["parts"].keys()
    for bundle in report["bundles"]:
        assert {
            "digest", "line", "precision", "runtimes", "size_bytes", "auroc_fp32", "auroc_int8",
            "flips",
        } <= bundle.keys()  # fmt: skip
    assert report["push"]["transport"] == "mqtt"
    assert report["push"]["seconds"] > 0
    assert report["drift"]["station"] == AGEING
    assert report["drift"]["parts_until_alarm"] > 0
    assert all({"digest", "stages", "outcome"} <= row.keys() for row in report["rollouts"])
    assert all(row["reason"] for row in report["refused"])
    assert report["versions"]


def test_a_canary_was_judged_against_the_other_two_stations(story: Story) -> None:
    run = next(run for run in story.report["runs"] if run["incident"] is not None)
    rollout = next(r for r in story.report["rollouts"] if r["digest"] == run["bundle"])
    canary = next(stage for stage in rollout["stages"] if stage["name"] == "canary")
    assert canary["numbers"]["guard_only"] is True
    assert canary["numbers"]["canary_parts"] >= SHORT.canary_parts
    assert canary["numbers"]["control_parts"] > canary["numbers"]["canary_parts"]
