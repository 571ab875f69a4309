"""Parts of several views: the rule that makes one verdict, and the inspection's loop over them."""

from pathlib import Path

import numpy as np
import pytest

from edge_agent.looks import Look, conclude
from edge_agent.source.base import CameraLost, Captured
from edge_agent.views import Plan, Rule, View
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame
from fleet_contract.messages import Stream
from fleet_contract.names import Verdict
from tests.edge_agent.test_inspect import A, B, Bench, Model
from tests.support.tiny_bundle import solid
from tests.support.wait import eventually

VIEWS = (View("top", "top", mm_per_pixel=0.05), View("side", "side", "side"))


def plan(rule: Rule = "any_rejects", needed: int = 2) -> Plan:
    return Plan(VIEWS, rule, needed)


def judged(view: int, score: float, verdict: Verdict | None = None) -> Look:
    """Threshold 0.5, unless limits or another threshold say otherwise."""
    said = verdict or (Verdict.REJECT if score >= 0.5 else Verdict.ACCEPT)
    captured = Captured(solid(view), 1, 0.0, view=view)
    return Look(captured, "", Judgement(said, score, np.zeros((2, 2), np.float32), 1.0))


def missing(view: int, reason: str = "camera_gap") -> Look:
    return Look(Captured(None, 1, 0.0, reason, view=view), "", None, reason)


def told(made: Plan, *looks: Look) -> tuple[str, float | None, str, int]:
    end = conclude(made, looks, lambda _: 0.5)
    score = None if end.score is None else round(end.score, 3)
    return str(end.verdict), score, end.reason, end.look.captured.view


@pytest.mark.parametrize(
    ("rule", "scores", "expected"),
    [
        ("any_rejects", (0.1, 0.7), ("reject", 0.7, "", 1)),
        ("any_rejects", (0.3, 0.2), ("accept", 0.3, "", 0)),
        ("mean_score", (0.1, 0.7), ("accept", 0.4, "", 1)),
        ("mean_score", (0.4, 0.7), ("reject", 0.55, "", 1)),
        ("max_score", (0.1, 0.7), ("reject", 0.7, "", 1)),
    ],
)
def test_the_rule_makes_one_verdict_of_all_views(
    rule: Rule, scores: tuple[float, float], expected: tuple[str, float, str, int]
) -> None:
    looks = [judged(view, score) for view, score in enumerate(scores)]
    assert told(plan(rule), *looks) == expected


def test_a_view_that_rejects_with_a_lower_score_is_the_one_that_decided() -> None:
    accepted = judged(0, 0.9, Verdict.ACCEPT)
    assert told(plan(), accepted, judged(1, 0.6)) == ("reject", 0.6, "", 1)


def test_the_mean_never_rejects_what_limits_accept_in_every_view() -> None:
    looks = [judged(view, 0.8, Verdict.ACCEPT) for view in (0, 1)]
    assert told(plan("mean_score"), *looks)[0] == "accept"


def test_a_view_that_is_missing_is_named_unless_another_rejects() -> None:
    assert told(plan(), judged(0, 0.1), missing(1)) == ("no_decision", None, "view_missing", 1)
    assert told(plan(), judged(0, 0.8), missing(1)) == ("reject", 0.8, "", 0)
    assert told(plan("max_score"), judged(0, 0.8), missing(1))[2] == "view_missing"
    assert told(plan(needed=1), judged(0, 0.1), missing(1)) == ("accept", 0.1, "", 0)


def test_what_went_wrong_says_more_than_that_nothing_came() -> None:
    assert told(plan(), missing(0), missing(1))[2] == "camera_gap"
    assert told(plan(), missing(0), missing(1, "frame_incomplete"))[2:] == ("frame_incomplete", 1)


def test_a_view_is_judged_by_its_part_of_the_recipe() -> None:
    recipes = [plan().recipe(view, recipe) for recipe in ("", "steel") for view in (0, 1)]
    assert recipes == ["", "side", "steel", "steel.side"]


# The loop


class Colours(Model):
    """The score is the mean red of the picture; the bundle knows recipes for the side."""

    def judge(self, frame: Frame, recipe: str = "", mm_per_pixel: float | None = None) -> Judgement:
        self.score = float(frame[..., 0].mean()) / 255
        known = "steel" if recipe in ("side", "steel.side") else recipe
        return super().judge(frame, known, mm_per_pixel)


@pytest.fixture
def bench(tmp_path: Path) -> object:
    made = Bench(tmp_path, Plan(VIEWS, "any_rejects", 2))
    made.model = Colours(made.clock)
    made.model.manifest.decision.recipes["side"] = made.model.manifest.decision.recipes["steel"]
    yield made
    made.stop()


def view(
    number: int, which: int, red: int | None = 40, *, recipe: str = "", external_id: str = ""
) -> Captured:
    frame = None if red is None else solid(red)
    return Captured(frame, number, 0.0, "camera_gap", recipe, external_id, which)


def verdicts(bench: Bench, *steps: Captured | Exception, parts: int) -> list[tuple[object, ...]]:
    """Number, verdict, reason and view of the parts that these steps end."""
    return [
        (one.number, str(one.verdict), one.reason, one.view)
        for one in bench.play(*steps, parts=parts)
    ]


def test_two_views_end_in_one_verdict_with_one_number(bench: Bench) -> None:
    bench.start(bench.loaded())
    steps = [view(1, 0, external_id="SN-1"), view(1, 1, 230, external_id="SN-1")]
    assert verdicts(bench, *steps, parts=1) == [(1, "reject", "", "side")]
    assert bench.gate.verdicts[0].external_id == "SN-1"
    assert bench.model.scales == [0.05, None]
    seen = bench.inspector.lately.find(1)
    assert seen is not None
    assert seen.picture is not None
    assert seen.picture[..., 0].mean() > 200, "the page shows the view that decided"


def test_parts_may_overlap_and_end_in_their_order(bench: Bench) -> None:
    bench.start(bench.loaded())
    steps = [view(1, 0), view(2, 0, 230), view(2, 1), view(1, 1), view(3, 1, None), view(3, 0)]
    assert verdicts(bench, *steps, parts=3) == [
        (1, "accept", "", "top"), (2, "reject", "", "top"),
        (3, "no_decision", "view_missing", "side"),
    ]  # fmt: skip


def test_a_part_whose_views_never_come_ends_before_the_ones_that_were_passed_over(
    bench: Bench,
) -> None:
    bench.start(bench.loaded())
    assert verdicts(bench, view(1, 0), view(4, 0), view(4, 1), parts=4) == [
        (1, "no_decision", "view_missing", "side"), (2, "no_decision", "camera_gap", ""),
        (3, "no_decision", "camera_gap", ""), (4, "accept", "", "top"),
    ]  # fmt: skip


def test_the_deadline_counts_from_the_first_view(bench: Bench) -> None:
    bench.start(bench.loaded())
    bench.model.takes_s = 0.3
    assert verdicts(bench, view(1, 0), view(1, 1), parts=1)[0][1:3] == ("no_decision", "deadline")


def test_one_bundle_judges_all_views_of_a_part(bench: Bench) -> None:
    bench.start(bench.loaded())
    bench.play(view(1, 0), parts=0)
    bench.inspector.activate(bench.loaded(B), None)
    bench.play(view(1, 1), view(2, 0), view(2, 1), parts=2)
    assert [one.digest for one in bench.gate.verdicts] == [A, B]


def test_pictures_of_few_parts_wait_for_views_that_are_late(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.inspect._MOST_PICTURES", 2)
    bench.start(bench.loaded())
    bench.play(*(view(number, 0, 230) for number in range(1, 5)), parts=0)
    bench.play(*(view(number, 1) for number in range(1, 5)), parts=4)
    assert [one.verdict for one in bench.gate.verdicts] == ["reject"] * 4
    seen = [bench.inspector.lately.find(number) for number in range(1, 5)]
    assert [bench.inspector.lately.find(n) is not None for n in (1, 2, 3, 4)] == [True] * 4
    assert [one is not None and one.picture is not None for one in seen][2:] == [False, False]


def test_each_view_has_windows_of_its_own_and_parts_count_once(bench: Bench) -> None:
    bench.start(bench.loaded())
    bench.play(view(1, 0), view(1, 1, 230), parts=1)
    bench.stop()
    found = {one.camera: one for one in bench.windows()}
    assert set(found) == {"top", "side"}
    assert [found[name].sampled_frames for name in ("top", "side")] == [1, 1]
    assert (found["top"].arms[A].parts, found["side"].arms) == (1, {})
    means = [found[name].score.histogram().mean() or 0.5 for name in ("top", "side")]
    assert means[0] < 0.3 < 0.7 < means[1]


def test_each_recipe_has_windows_of_its_own_but_not_one_that_nobody_knows(bench: Bench) -> None:
    bench.model.manifest.decision.recipes["steel.side"] = bench.model.manifest.decision.recipes[
        "side"
    ]
    bench.start(bench.loaded())
    for number, recipe in enumerate(("", "steel", "brass"), 1):
        bench.clock.advance(1.0)
        bench.play(view(number, 0, recipe=recipe), view(number, 1, recipe=recipe), parts=1)
    bench.stop()
    windows = {(one.camera, one.recipe): one for one in bench.windows()}
    assert set(windows) == {("top", ""), ("side", ""), ("top", "steel"), ("side", "steel")}
    assert windows["top", ""].arms[A].parts == 2
    assert windows["top", ""].sampled_frames == 1, "a product that nobody knows is not the line's"


def test_one_of_two_cameras_is_lost_and_found_by_its_name(bench: Bench) -> None:
    bench.start(bench.loaded())
    lost = CameraLost("gone", reconnecting=True, camera="side")
    # A picture of the other camera, or a part without one, does not bring it back.
    bench.play(lost, view(1, 0), view(1, 1, None), lost, view(2, 0), view(2, 1), parts=2)
    told = [text for kind, text, _ in bench.told if kind == "camera"]
    assert told == ["the camera side is lost: gone", "the camera side is back"]
    assert not plan().enough_without({"side"})
    assert plan(needed=1).enough_without({"side"})


class Negative(Colours):
    """Sees it the other way round."""

    def judge(self, frame: Frame, recipe: str = "", mm_per_pixel: float | None = None) -> Judgement:
        return super().judge(255 - frame, recipe, mm_per_pixel)


def test_a_candidate_judges_all_views_and_the_view_that_made_the_difference_is_kept(
    bench: Bench,
) -> None:
    bench.start(bench.loaded())
    candidate = Negative(bench.clock)
    candidate.manifest.decision.recipes["side"] = candidate.manifest.decision.recipes["steel"]
    bench.inspector.shadow(bench.loaded(B, candidate))
    # Both reject the first part, each for another view; of the second the candidate alone does.
    bench.play(view(1, 0), view(1, 1, 230), view(2, 0, 100), view(2, 1, 30), parts=2)
    eventually(lambda: len(candidate.scales) == 4, 10, "the candidate has seen both")
    bench.play(view(3, 0), view(3, 1), parts=1)
    bench.stop()
    shadows = [one.shadow for one in bench.windows() if one.shadow]
    assert sum(one.both_reject for one in shadows) == 1
    assert sum(one.only_candidate_rejects for one in shadows) >= 1
    samples = [entry.record.body for entry in bench.spool.pending(Stream.SAMPLES, 0, 10, 10**9)]
    kept = {body["part"]: body["camera"] for body in samples if body}
    assert kept[2] == "side"
