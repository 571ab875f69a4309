"""A candidate with a share of the parts: which they are, who judges them, and what it may cost the line."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.canary import Share
from edge_agent.source.base import Captured
from edge_agent.views import Plan, View
from fleet_contract.errors import ModelError
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame
from fleet_contract.messages import Stream
from fleet_contract.names import Verdict
from fleet_contract.windows import Arm, ShadowCounts
from tests.edge_agent.test_inspect import A, B, Bench, Model
from tests.support.scene import Scene
from tests.support.tiny_bundle import solid
from tests.support.wait import eventually

HALF = Share("spool/bundle/1", 0.5)
PARTS = range(1, 41)
TAKEN = [part for part in PARTS if HALF.takes(part)]


def test_a_share_is_drawn_by_the_parts_number_and_the_attempt() -> None:
    parts = range(20_000)
    five = [part for part in parts if Share("spool/bundle/1", 0.05).takes(part)]
    assert 900 < len(five) < 1100
    assert five == [part for part in parts if Share("spool/bundle/1", 0.05).takes(part)]
    assert all(Share("spool/bundle/1", 0.25).takes(part) for part in five)
    other = {part for part in parts if Share("spool/bundle/2", 0.05).takes(part)}
    assert len(other & set(five)) < 100, "another attempt draws other parts"


class Watch:
    """Probation that ends after `parts` parts of the share."""

    def __init__(self, parts: int = 1000) -> None:
        self.parts = parts
        self.seen: list[tuple[Verdict, float | None, bool, bool]] = []

    def part(self, verdict: Verdict, score: float | None, *, late: bool, fault: bool) -> bool:
        self.seen.append((verdict, score, late, fault))
        return len(self.seen) < self.parts


class Stuck(Model):
    """Does not answer until it is let go."""

    let_go = threading.Event()

    def judge(self, frame: Frame, recipe: str = "", mm_per_pixel: float | None = None) -> Judgement:
        assert self.let_go.wait(30)
        return super().judge(frame, recipe, mm_per_pixel)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    Stuck.let_go.set()
    made.stop()


def rejecting(bench: Bench) -> Model:
    made = Model(bench.clock)
    made.score = 0.9
    return made


def begin(bench: Bench, candidate: Model, watch: Watch | None = None, share: Share = HALF) -> Watch:
    """The candidate has its share from the first part on."""
    watch = watch or Watch()
    bench.start(bench.loaded())
    bench.inspector.canary(bench.loaded(B, candidate), share, watch)
    return watch


def arms(bench: Bench) -> dict[str, Arm]:
    """Counts over all windows."""
    found: dict[str, Arm] = {}
    for window in bench.windows():
        for digest, arm in window.arms.items():
            found[digest] = found.get(digest, Arm()).merge(arm)
    return found


def pairs(bench: Bench) -> ShadowCounts:
    """Pairs over all windows."""
    [first, *others] = [w.shadow for w in bench.windows() if w.shadow]
    for one in others:
        first = first.merge(one)
    return first


def test_the_candidate_judges_its_share_and_the_active_bundle_the_others(bench: Bench) -> None:
    watch = begin(bench, rejecting(bench))
    verdicts = bench.play(*PARTS)
    for verdict in verdicts:
        mine = verdict.number in TAKEN
        assert (verdict.slot, verdict.digest, verdict.verdict) == (
            ("candidate", B, Verdict.REJECT) if mine else ("active", A, Verdict.ACCEPT)
        )
    eventually(lambda: not bench.inspector.shadow_waiting, 10, "the active bundle's words")
    bench.stop()
    found = arms(bench)
    assert (found[A].parts, found[A].rejects) == (len(PARTS) - len(TAKEN), 0)
    assert (found[B].parts, found[B].rejects) == (len(TAKEN), len(TAKEN))
    assert pairs(bench).only_candidate_rejects + pairs(bench).shed == len(TAKEN)
    assert pairs(bench).only_candidate_rejects > 0
    assert watch.seen == [(Verdict.REJECT, 0.9, False, False)] * len(TAKEN)


def test_a_disagreement_is_kept_with_the_active_bundles_word_first(bench: Bench) -> None:
    begin(bench, rejecting(bench))
    bench.play(*PARTS)
    eventually(lambda: not bench.inspector.shadow_waiting, 10, "the active bundle's words")
    bench.stop()
    body = bench.spool.pending(Stream.SAMPLES, 0, 1, 10**9)[0].record.body or {}
    told = ("why", "part", "verdict", "digest", "candidate_verdict", "candidate_digest")
    assert [body[name] for name in told] == ["disagreement", TAKEN[0], "accept", A, "reject", B]


def test_where_the_candidate_fails_the_active_bundle_judges(bench: Bench) -> None:
    failing = Model(bench.clock)
    failing.error = ModelError("it fails")
    watch = begin(bench, failing)
    verdicts = bench.play(*PARTS)
    assert {(v.verdict, v.digest) for v in verdicts} == {(Verdict.ACCEPT, A)}
    assert [v.number for v in verdicts if v.slot == "candidate"] == TAKEN
    bench.stop()
    mine = arms(bench)[B]
    assert (mine.parts, mine.no_decision, mine.faults, mine.late) == (*[len(TAKEN)] * 3, 0)
    assert arms(bench)[A].parts == len(PARTS) - len(TAKEN), "arms stay as they were drawn"
    assert watch.seen[0] == (Verdict.NO_DECISION, None, False, True)
    assert pairs(bench).pairs == 0


def test_a_candidate_that_hangs_costs_the_line_no_part(bench: Bench) -> None:
    Stuck.let_go.clear()
    watch = begin(bench, Stuck(bench.clock), Watch(parts=3))
    verdicts = bench.play(*PARTS)
    assert {(v.verdict, v.digest) for v in verdicts} == {(Verdict.ACCEPT, A)}
    assert watch.seen == [(Verdict.NO_DECISION, None, True, False)] * 3
    assert [v.number for v in verdicts if v.slot == "candidate"] == TAKEN[:3], "its share is gone"
    Stuck.let_go.set()
    bench.stop()
    assert (arms(bench)[B].parts, arms(bench)[B].late) == (3, 3)


def test_a_candidate_that_ends_gives_its_parts_back_at_once(bench: Bench) -> None:
    begin(bench, rejecting(bench))
    bench.play(*PARTS)
    bench.inspector.shadow(None)
    verdicts = bench.play(*range(41, 61))
    assert {(v.slot, v.digest) for v in verdicts} == {("active", A)}


def test_an_active_bundle_that_fails_on_a_pair_costs_the_pair_and_nothing_else(
    bench: Bench,
) -> None:
    begin(bench, rejecting(bench))
    bench.model.error = ModelError("the active one fails")
    bench.play(TAKEN[0])
    bench.stop()
    assert (pairs(bench).pairs, pairs(bench).shed) == (0, 1)


def test_all_views_of_a_part_are_judged_by_one_bundle(tmp_path: Path) -> None:
    plan = Plan((View("left", "left"), View("right", "right")), needed=2)
    bench = Bench(tmp_path, plan)
    fails_late = FailsOnSecond(bench.clock)
    begin(bench, fails_late, share=Share("every part", 0.999))
    views = [Captured(solid(40), part, 0.0, view=view) for part in (1, 2) for view in (0, 1)]
    first, second = bench.play(*views, parts=2)
    bench.stop()
    assert (first.digest, second.digest) == (A, B)
    assert (first.verdict, second.verdict) == (Verdict.ACCEPT, Verdict.REJECT)
    assert (arms(bench)[B].parts, arms(bench)[B].faults) == (2, 1)


class FailsOnSecond(Model):
    """Rejects, but fails on the second picture that it sees."""

    seen = 0

    def judge(self, frame: Frame, recipe: str = "", mm_per_pixel: float | None = None) -> Judgement:
        self.seen += 1
        self.score = 0.9
        self.error = ModelError("not this one") if self.seen == 2 else None
        return super().judge(frame, recipe, mm_per_pixel)


def test_a_share_outlives_a_kill_grows_when_the_line_lets_it_and_is_taken_back_on_the_spot(
    scene: Scene,
) -> None:
    station = scene.station(rate=40)
    station.start()
    first, second = scene.release(), scene.release(name="two", reference_mean=0.5)
    scene.server.assign(scene.device, first)
    scene.reaches(first, "committed")
    scene.server.assign(scene.device, second, slot="canary", share_permille=300)
    scene.reaches(second, "canary")
    scene.judges(second)
    eventually(lambda: scene.line().candidate, 10, "the state says so")
    assert scene.line().candidate.share == 0.3  # type: ignore[union-attr]
    assert scene.active() == first
    station.kill()
    station.start()
    before = len(scene.server.verdicts(scene.device))
    scene.judges(second)
    scene.judges(first)
    scene.every_part_once()
    state = scene.server.state(scene.device)
    assert state is not None
    share = Share(f"{state.spool_id}/{second}/1", 0.3)
    since = scene.server.verdicts(scene.device)[before:]
    loaded = next(index for index, v in enumerate(since) if v.digest == second)
    assert all((v.digest == second) == share.takes(v.number) for v in since[loaded:])
    assert station.call("lock", "--line", "watch-case").returncode == 0
    eventually(lambda: scene.server.events(scene.device, "update_lock"), 20, "it is locked")
    asked = len(scene.server.requests)
    scene.server.assign(scene.device, second, slot="canary", share_permille=600)
    eventually(lambda: len(scene.server.requests) > asked, 20, "the larger share is known")
    assert station.call("unlock", "--line", "watch-case").returncode == 0
    eventually(lambda: scene.steps(second).count("canary") == 2, 20, "the larger share")
    texts = [event.text for event in scene.server.events(scene.device)]
    grown = next(text for text in texts if text.endswith("canary of 60 % of the parts"))
    assert texts.index("updates are unlocked") < texts.index(grown)
    told = station.call("rollback", "--line", "watch-case").stdout
    assert f"goes back to {first[:12]}" in told
    scene.reaches(second, "rolled_back")
    eventually(lambda: scene.line().candidate is None, 10, "no share any more")
    assert scene.active() == first
    scene.judges(first)
    assert sum(w.shadow.pairs for w in scene.server.windows(scene.device) if w.shadow) > 0
    scene.every_part_once()
