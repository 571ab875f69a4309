"""What the console says, without a browser: words, numbers, series, colours, live events."""

import asyncio
import re

import pytest

from fleet_contract.clock import ManualClock
from fleet_server.audit.rules import START
from fleet_server.audit.service import Verification
from fleet_server.bus import Bus
from fleet_server.console import audit, evaluation, live, series, show, words
from fleet_server.console.gates import decision_views, gate_numbers
from fleet_server.console.incidents import incident_view
from fleet_server.console.releases import PushView, push_view
from fleet_server.console.render import STATIC, environment
from fleet_server.console.review import Choice, build
from fleet_server.distribution.models import Push
from fleet_server.drift.models import Incident
from fleet_server.labels.models import Sample
from fleet_server.rollouts.models import GateDecision, Rollout
from tests.fleet_server.console_story import CANARY, COMPARISON, SHADOW, SHARE
from tests.fleet_server.console_story import evaluation as report
from tests.support.telemetry import window

NOW = ManualClock().time()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "just now"), (0, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7300, "2 h ago"),
     (200_000, "2 days ago")],
)  # fmt: skip
def test_an_age_is_said_in_one_unit(seconds: float, said: str) -> None:
    assert show.ago(NOW - seconds, NOW) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.4, "0.4 s"), (42, "42 s"), (60, "1 min"), (95, "1 min 35 s"), (3600, "1 h"),
     (5400, "1 h 30 min"), (200_000, "2 days 7 h")],
)  # fmt: skip
def test_a_span_is_said_in_two_units_at_most(value: float, said: str) -> None:
    assert show.span(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "none"), (True, "yes"), ("text", "text"), (1040, "1 040"), (0.51234, "0.5123"),
     (float("inf"), "inf")],
)  # fmt: skip
def test_numbers_have_four_digits(value: float | str | None, said: str) -> None:
    assert show.number(value) == said


def test_counts_without_parts_have_no_share() -> None:
    assert [share for _, _, share in show.Counts().shares()] == [0, 0, 0]


def test_a_level_series_is_drawn_in_the_middle() -> None:
    assert show.spark_path([5, 5]) == "M0.0 15.0L100.0 15.0"
    assert show.spark_path([5]) == ""


def test_missing_windows_break_the_line() -> None:
    bodies = [window(start).model_dump(mode="json") for start in (0.0, 2.0, 60.0)]
    chart = series.charts(bodies, {"mean": [120.0, 2.0, 0.1]})[0]
    assert chart.x == [2.0, 4.0, 33.0, 62.0]
    assert chart.y[2] is None
    assert (chart.low, chart.high) == (116.0, 124.0)
    assert chart.summary().endswith("baseline 116 to 124")


def test_a_change_of_bundle_is_marked() -> None:
    bodies = [
        window(start, digest=digest).model_dump(mode="json")
        for start, digest in ((0.0, "a" * 64), (2.0, "b" * 64))
    ]
    assert series.charts(bodies, {})[0].marks == (2.0,)


def test_a_chart_is_of_one_view_and_recipe_the_one_that_counted_the_last_parts() -> None:
    changes: list[dict[str, object]] = [{}, {"recipe": "steel"}, {"camera": "side", "arms": {}}]
    first, steel, side = (
        window(2.0 * n).model_copy(update=update).model_dump(mode="json")
        for n, update in enumerate(changes)
    )
    earlier = {key: value for key, value in first.items() if key != "recipe"}
    assert series.one_place([first, steel, side]) == [steel]
    assert series.one_place([earlier, steel, side, first]) == [earlier, first]
    assert series.one_place([side]) == [side]
    assert series.one_place([]) == []


def test_one_dark_cell_stands_out_against_the_baseline() -> None:
    values = [1.0] * 63 + [0.9]
    cells, full = series.change_cells(values, [1.0] * 64)
    assert full == pytest.approx(0.1)
    assert [cell.title for cell in cells[-2:]] == ["+0.0 %", "-10.0 %"]
    assert cells[-1].fill == "#2462b2"
    assert (cells[-1].x, cells[-1].y) == (56, 56)


def test_a_broken_chain_says_where() -> None:
    page = audit.build([], Verification(whole=False, entries=9, broken_at=4, head=START))
    assert page.chain.tone == "bad"
    assert "Entry 4" in page.chain_text


def test_the_evaluation_has_a_row_for_each_model() -> None:
    made = evaluation.evaluation(report(0.983))
    assert made.columns[:2] == ["Runtime", "AUROC"]
    assert [row[0] for row in made.rows] == [
        "litert/fp32", "litert/int8", "onnx/fp32", "onnx/int8",
    ]  # fmt: skip
    flips = made.columns.index("Flips")
    assert [row[flips] for row in made.rows] == [
        "",
        "1.0 % (0 % to 4.0 %)",
        "",
        "0.5 % (0 % to 3.5 %)",
    ]


def test_an_unknown_report_shows_no_table() -> None:
    assert evaluation.evaluation({"something": 1}).rows == []
    assert evaluation.comparison({}) is None


def test_a_comparison_says_its_outcome_and_why() -> None:
    made = evaluation.comparison(COMPARISON)
    assert made is not None
    assert (made.outcome.text, made.outcome.tone) == ("better", "ok")
    assert show.Fact("AUROC, champion", "0.951") in made.facts


def test_looks_in_a_row_that_hold_are_one_row_with_the_last_numbers() -> None:
    rollout = Rollout(
        id=1, line="l", digest="d", created_at=NOW, created_by="x",
        plan={"stages": [{"name": "shadow"}, {"name": "all"}]},
    )  # fmt: skip
    made = [
        GateDecision(rollout=1, stage=stage, at=NOW, decision=decision, text=text, numbers=numbers)
        for stage, decision, text, numbers in (
            (1, "hold", "fourth", {"guard_only": True}), (0, "promote", "third", {}),
            (0, "hold", "second", {"pairs": 2}), (0, "hold", "first", {"pairs": 1}),
        )
    ]  # fmt: skip
    views = decision_views(rollout, made)
    assert [(v.stage, v.decision.text, v.looks) for v in views] == [
        ("all", "hold", 1), ("shadow", "promote", 1), ("shadow", "hold", 2),
    ]  # fmt: skip
    assert views[0].guard_only is not None
    assert views[2].numbers.facts == [show.Fact("Pairs", "2")]


def test_a_canary_is_a_table_of_what_is_watched() -> None:
    made = gate_numbers(CANARY)
    assert made.columns == ["Watched", "Canary", "Others", "ln E", "Limit"]
    assert made.rows[0] == ["rejects", "15", "28", "-0.31", "4.38"]
    assert show.Fact("Parts on the canary", "60") in made.facts


def test_a_disagreement_with_who_judges_today_names_them_and_no_bundle() -> None:
    sample = Sample(
        sample_id="s", device="a", spool_id="s", line="l", camera="c", part=1, why="disagreement",
        verdict="reject", candidate_digest="b" * 64, candidate_verdict="accept",
        candidate_score=0.2, blob="0" * 64, length=1, time_s=NOW, received_at=NOW,
    )  # fmt: skip
    shown = build(sample, [], Choice(), "").sample
    assert shown is not None
    assert [(one.who, one.digest[:1], one.score) for one in shown.verdicts] == [
        ("Judge today", "", "none"), ("Candidate", "b", "0.200"),
    ]  # fmt: skip


def test_a_share_is_a_table_of_both_arms_of_its_stations() -> None:
    made = gate_numbers(SHARE)
    assert made.columns == ["Watched", "Candidate", "Active", "ln E", "Limit"]
    assert made.rows[0] == ["rejects", "5", "104", "-0.21", "4.61"]
    assert show.Fact("Share of the parts", "5.0 %") in made.facts
    assert show.Fact("Only the candidate rejects", "1") in made.facts


def test_a_shadow_is_a_table_of_its_devices() -> None:
    made = gate_numbers(SHADOW)
    assert made.rows == [["station-1", "130", "3"], ["station-2", "110", "4"]]
    assert show.Fact("Disagreement at most", "6.0 %") in made.facts


def test_the_queue_keeps_its_choice_in_its_address() -> None:
    assert Choice().href() == "/review"
    assert Choice("near_threshold", 3, 2).href(last="a b") == (
        "/review?why=near_threshold&incident=3&skip=2&last=a+b"
    )


def test_cells_and_features_have_words() -> None:
    assert words.feature("cell_08") == "cell in row 2, column 1"
    assert words.feature("p99") == "brightest 1 %"


def test_what_devices_say_cannot_become_markup() -> None:
    made = environment().from_string("{{ text }}").render(text='<script src="x">')
    assert "<" not in made


async def _collect(bus: Bus, count: int) -> list[str]:
    found = []
    async for text in live.changes(bus, rest_s=0.01):
        found.append(text)
        if len(found) == count:
            return found
        for _ in range(5):
            bus.publish("windows", {"device": "station-1"})
    return found


def test_hints_in_a_burst_are_one_change() -> None:
    found = asyncio.run(_collect(Bus(), 3))
    assert found == ["retry: 2000\nevent: change\ndata: {}\n\n"] * 3


async def _until_closed(bus: Bus) -> list[str]:
    found = []
    async for text in live.changes(bus, rest_s=0.01):
        found.append(text)
        bus.close()
    return found


def test_events_end_when_the_server_stops() -> None:
    assert len(asyncio.run(asyncio.wait_for(_until_closed(Bus()), 5))) == 1


def _tokens() -> list[dict[str, str]]:
    sheet = (STATIC / "app.css").read_text()
    blocks = [found[1] for found in re.finditer(r":root \{(.*?)\}", sheet, re.DOTALL)]
    light, dark = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in blocks)
    return [light, dark]


def _luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", _tokens(), ids=["light", "dark"])
def test_text_stands_out_from_its_ground(colours: dict[str, str]) -> None:
    grounds = ("ground", "surface", "raised")
    pairs = [(text, ground) for text in ("text", "muted", "accent") for ground in grounds]
    pairs += [(tone, f"{tone}-ground") for tone in ("ok", "warn", "bad", "info", "idle")]
    pairs += [("on-accent", "accent"), ("bad", "surface")]
    weak = {
        f"{text} on {ground}": round(found, 2)
        for text, ground in pairs
        if (found := _contrast(colours[text], colours[ground])) < 4.5
    }
    assert weak == {}


def test_a_push_says_how_long_the_broadcast_took() -> None:
    push = Push(
        digest="e" * 64, bundle="b" * 64, line="l", length=3_100_000, opened_at=NOW,
        joined=["station-1", "station-2"], bytes_broadcast=3_100_000, bytes_unicast=65_536,
    )  # fmt: skip
    assert push_view(push).took == "under way"
    push.started_at, push.finished_at = NOW + 2, NOW + 6
    assert push_view(push) == PushView(NOW, "station-1, station-2", "3.1 MB", "4 s", "65.5 kB")


def test_an_incident_tells_a_shift_in_pixels_and_what_came_after() -> None:
    moved = {
        "shift_x": {"strength": 6.2, "s": 1.0, "change": 2.41},
        "mean": {"strength": 4.0, "s": -0.8, "change": -0.12},
    }
    incident = Incident(
        id=1, device="station-1", line="l", camera="cam-1", cause="camera", opened_at=0.0,
        parts_until_alarm=40, evidence={"moved": moved, "also": {"light": 9.0}},
    )  # fmt: skip
    told = [(fact.name, fact.value) for fact in incident_view(incident, 0, 0).evidence]
    assert ("Since then also", "The light has changed") in told
    assert any(value.startswith("+2.4 px") for _, value in told)
