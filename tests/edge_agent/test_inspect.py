"""The inspection's loop: every part ends in a verdict, whatever happens on its way."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_agent.batch import BatchStore
from edge_agent.config import ProbationConfig, SamplesConfig, WindowsConfig
from edge_agent.db import Database
from edge_agent.health import Meter
from edge_agent.inspect import Inspector
from edge_agent.loaded import Loaded
from edge_agent.report import Report
from edge_agent.sampling import SamplePolicy
from edge_agent.source.base import CameraLost, Captured, CounterRestarted
from edge_agent.spool import Spool, Stamp
from edge_agent.update.probation import Outcome, Probation
from edge_agent.views import Plan, one_view
from fleet_contract.clock import ManualClock
from fleet_contract.errors import DataError, ModelError, StateError, UnknownRecipe
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame
from fleet_contract.manifest import Decision, Manifest, Recipe
from fleet_contract.messages import PartsBody, PartVerdict, Stream
from fleet_contract.names import Verdict
from fleet_contract.windows import Window
from tests.support.tiny_bundle import solid
from tests.support.wait import eventually

A, B = "a" * 64, "b" * 64
ONE_VIEW = one_view("cam-1")


class Script:
    """A source that plays a list: trigger numbers, None for an unreadable frame, or an exception."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.steps: list[int | Exception | Captured] = []
        self.started: list[int | None] = []

    def start(self, after: int | None) -> None:
        self.started.append(after)

    def next(self, timeout_s: float) -> Captured | None:
        if not self.steps:
            time.sleep(min(timeout_s, 0.002))
            return None
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, Captured):
            return step
        return Captured(solid(40), step, self._clock.monotonic())

    def close(self) -> None:
        """Nothing is held."""


class Model:
    """Judges by rule; `error` is raised instead, and each judgement takes `takes_s`."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.score, self.takes_s = 0.2, 0.0
        self.scales: list[float | None] = []
        self.error: Exception | None = None
        self.manifest: Manifest = SimpleNamespace(  # type: ignore[assignment]
            decision=Decision(threshold=0.5, near_margin=0.0, recipes={"steel": Recipe()})
        )

    def judge(self, frame: Frame, recipe: str = "", mm_per_pixel: float | None = None) -> Judgement:
        self.scales.append(mm_per_pixel)
        if recipe not in ("", "steel"):
            raise UnknownRecipe(f"no recipe {recipe}")
        assert frame.dtype == np.uint8
        self._clock.advance(self.takes_s)
        if self.error is not None:
            raise self.error
        verdict = Verdict.REJECT if self.score >= 0.5 else Verdict.ACCEPT
        return Judgement(verdict, self.score, np.zeros((2, 2), np.float32), 1.0)


class Gate:
    """An output that remembers."""

    def __init__(self) -> None:
        self.verdicts: list[PartVerdict] = []
        self.broken = False

    def expect(self, part: int, due_s: float) -> None:
        """Not asked for."""

    def act(self, verdict: PartVerdict) -> None:
        self.verdicts.append(verdict)
        if self.broken:
            raise OSError("no such gate")

    def close(self) -> None:
        """Nothing is held."""


class Bench:
    def __init__(self, folder: Path, plan: Plan = ONE_VIEW) -> None:
        self.clock = ManualClock()
        self.db = Database(folder / "agent.db")
        self.spool = Spool(self.db, 10**7, lambda: Stamp("boot", 1.0, 2.0, True))
        self.source, self.gate, self.model = Script(self.clock), Gate(), Model(self.clock)
        self.told: list[tuple[str, str, str]] = []
        store = BatchStore(self.db, self.spool, line="watch-case", camera="cam-1")
        report = Report(
            store, ThreadPoolExecutor(1), self.clock, WindowsConfig(), line="watch-case",
            camera=plan.views[0].name, deadline_s=0.5, stored=lambda: None,
        )  # fmt: skip
        samples = SamplesConfig(audit_share=0, rejects_per_hour=0, near_per_hour=0)
        self.inspector = Inspector(
            self.source, self.gate, report, SamplePolicy(samples, "seed", []),
            Meter(0.0), self.clock, deadline_s=0.5, shadow_queue=4,
            tell=lambda *words: self.told.append(words), plan=plan,
        )  # fmt: skip
        self._thread: threading.Thread | None = None

    def loaded(self, digest: str = A, model: Model | None = None) -> Loaded:
        return Loaded(digest, model or self.model, None)

    def start(self, active: Loaded | None) -> None:
        self._thread = threading.Thread(target=self.inspector.run, args=(active,))
        self._thread.start()

    def play(
        self, *steps: int | Exception | Captured, parts: int | None = None
    ) -> list[PartVerdict]:
        """Verdicts on these steps, as the gate hears them: one a frame, or `parts` of them."""
        before = len(self.gate.verdicts)
        self.source.steps.extend(steps)
        frames = sum(not isinstance(step, Exception) for step in steps)
        frames = frames if parts is None else parts
        eventually(
            lambda: not self.source.steps and len(self.gate.verdicts) >= before + frames, 10,
            "the script is played",
        )  # fmt: skip
        return self.gate.verdicts[before:]

    def stop(self) -> None:
        self.inspector.stop()
        if self._thread is not None:
            self._thread.join(10)

    def stored(self) -> list[int]:
        entries = self.spool.pending(Stream.PARTS, 0, 1000, 10**9)
        bodies = [PartsBody.model_validate(entry.record.body) for entry in entries]
        return [verdict.number for body in bodies for verdict in body.verdicts]

    def windows(self) -> list[Window]:
        entries = self.spool.pending(Stream.WINDOWS, 0, 1000, 10**9)
        return [Window.model_validate(entry.record.body) for entry in entries]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.stop()


def test_without_a_model_a_part_is_no_decision(bench: Bench) -> None:
    bench.start(None)
    verdict = bench.play(1)[0]
    assert (verdict.verdict, verdict.reason, verdict.digest) == (
        Verdict.NO_DECISION, "model_not_ready", None,
    )  # fmt: skip
    assert not bench.inspector.inspecting


def test_a_score_becomes_a_verdict(bench: Bench) -> None:
    bench.start(bench.loaded())
    assert bench.play(1)[0].verdict is Verdict.ACCEPT
    bench.model.score = 0.5
    verdict = bench.play(2)[0]
    assert (verdict.verdict, verdict.score, verdict.digest) == (Verdict.REJECT, 0.5, A)
    assert bench.inspector.inspecting


def test_a_verdict_after_the_deadline_is_no_decision(bench: Bench) -> None:
    bench.start(bench.loaded())
    bench.model.takes_s = 0.6
    verdict = bench.play(1)[0]
    assert (verdict.verdict, verdict.reason) == (Verdict.NO_DECISION, "deadline")
    bench.stop()
    assert bench.windows()[-1].arms[A].late == 1


@pytest.mark.parametrize(
    ("error", "reason", "faults"),
    [
        (ModelError("the model fails"), "runtime", 1),
        (ValueError("from the runtime"), "runtime", 1),
        (DataError("another size"), "frame_schema", 0),
    ],
)
def test_a_model_that_fails_on_a_part_is_no_decision_and_the_line_goes_on(
    bench: Bench, error: Exception, reason: str, faults: int
) -> None:
    bench.start(bench.loaded())
    bench.model.error = error
    verdict = bench.play(1)[0]
    assert (verdict.verdict, verdict.reason, verdict.digest) == (Verdict.NO_DECISION, reason, A)
    bench.model.error = None
    assert bench.play(2)[0].verdict is Verdict.ACCEPT
    bench.stop()
    assert bench.windows()[-1].arms[A].faults == faults


def test_a_frame_that_cannot_be_read_is_a_part_all_the_same(bench: Bench) -> None:
    bench.start(bench.loaded())
    verdict = bench.play(Captured(None, 1, 0.0))[0]
    assert (verdict.verdict, verdict.reason) == (Verdict.NO_DECISION, "frame_unreadable")


def test_parts_that_passed_without_a_frame_each_end_in_no_decision(bench: Bench) -> None:
    bench.start(bench.loaded())
    verdicts = bench.play(1, 5)
    eventually(lambda: len(bench.gate.verdicts) == 5, 10, "all five")
    verdicts = bench.gate.verdicts
    assert [v.number for v in verdicts] == [1, 2, 3, 4, 5]
    assert [v.reason for v in verdicts] == ["", "camera_gap", "camera_gap", "camera_gap", ""]
    bench.stop()
    assert bench.stored() == [1, 2, 3, 4, 5]
    assert sum(window.undecided.parts for window in bench.windows()) == 3


def test_recipe_and_external_id_go_from_the_trigger_to_the_verdict(bench: Bench) -> None:
    bench.start(bench.loaded())
    named = Captured(solid(40), 1, 0.0, recipe="steel", external_id="SN-1")
    verdict = bench.play(named)[0]
    assert (verdict.verdict, verdict.recipe, verdict.external_id) == ("accept", "steel", "SN-1")


def test_an_unknown_recipe_is_no_decision_and_says_so(bench: Bench) -> None:
    bench.start(bench.loaded())
    verdict = bench.play(Captured(solid(40), 1, 0.0, recipe="brass"))[0]
    assert (verdict.verdict, verdict.reason, verdict.recipe) == (
        "no_decision", "unknown_recipe", "brass",
    )  # fmt: skip


def test_a_part_without_a_frame_says_why_and_does_not_bring_a_lost_camera_back(
    bench: Bench,
) -> None:
    bench.start(bench.loaded())
    lost = CameraLost("gone", reconnecting=True)
    verdicts = bench.play(lost, Captured(None, 1, 0.0, "camera_gap"), lost, 2)
    assert [verdict.reason for verdict in verdicts] == ["camera_gap", ""]
    camera = [text for kind, text, _ in bench.told if kind == "camera"]
    assert camera == ["the camera is lost: gone", "the camera is back"]


def test_a_camera_that_counts_anew_keeps_part_numbers_growing(bench: Bench) -> None:
    bench.start(bench.loaded())
    bench.play(7, 8, CounterRestarted("newest trigger 2 after 8"), 1, 2)
    assert [v.number for v in bench.gate.verdicts] == [7, 8, 9, 10]
    assert bench.source.started == [None, 0]
    assert any("go on from 8" in text for _, text, _ in bench.told)


def test_a_lost_camera_is_said_once_and_its_return_too(bench: Bench) -> None:
    bench.start(bench.loaded())
    bench.play(1, CameraLost("gone"), CameraLost("gone"), 2)
    camera = [text for kind, text, _ in bench.told if kind == "camera"]
    assert camera == ["the camera is lost: gone", "the camera is back"]


def test_an_output_that_fails_is_said_once_and_inspection_goes_on(bench: Bench) -> None:
    bench.gate.broken = True
    bench.start(bench.loaded())
    bench.play(1, 2, 3)
    assert bench.inspector.meter.output_failures == 3
    assert len([text for kind, text, _ in bench.told if kind == "fault"]) == 1


def test_models_are_exchanged_between_two_parts_without_waiting_for_the_disk(
    bench: Bench,
) -> None:
    bench.start(bench.loaded())
    bench.play(1, 2)
    with bench.db.transaction():  # nothing can be stored now
        bench.inspector.activate(bench.loaded(B), None)
        assert bench.play(3)[0].digest == B
    bench.stop()
    assert [list(window.arms) for window in bench.windows()] == [[A], [B]]


def test_nothing_can_be_exchanged_after_the_end(bench: Bench) -> None:
    bench.start(bench.loaded())
    bench.stop()
    with pytest.raises(StateError, match="ended"):
        bench.inspector.activate(None, None)


@dataclass
class WatchBench:
    """Probation as the updater keeps it."""

    probation: Probation
    fallback: Loaded
    outcomes: list[Outcome]

    def end(self, outcome: Outcome) -> Loaded | None:
        self.outcomes.append(outcome)
        return self.fallback


def test_a_bundle_that_fails_probation_is_replaced_before_the_next_part(bench: Bench) -> None:
    bad = Model(bench.clock)
    bad.error = ModelError("faults")
    limits = ProbationConfig(parts=50, max_faults=1)
    watch = WatchBench(Probation(limits, None), bench.loaded(A), [])
    bench.start(bench.loaded())
    bench.inspector.activate(bench.loaded(B, bad), watch)
    verdicts = bench.play(1, 2, 3)
    assert [v.digest for v in verdicts] == [B, B, A]
    assert [outcome.held for outcome in watch.outcomes] == [False]


def test_a_part_without_a_picture_says_nothing_of_a_bundle_on_probation(bench: Bench) -> None:
    watch = WatchBench(Probation(ProbationConfig(parts=50), None), bench.loaded(A), [])
    bench.start(bench.loaded())
    bench.inspector.activate(bench.loaded(B), watch)
    unseen = [Captured(None, number, 0.0, "camera_gap") for number in range(1, 60)]
    verdicts = bench.play(*unseen, 60)
    assert {verdict.digest for verdict in verdicts} == {B}
    assert watch.outcomes == []


def test_a_candidate_sees_the_same_frames_and_its_disagreements_become_samples(
    bench: Bench,
) -> None:
    candidate = Model(bench.clock)
    candidate.score = 0.9
    bench.start(bench.loaded())
    bench.inspector.shadow(bench.loaded(B, candidate))
    bench.play(1, 2, 3)
    done: Callable[[], bool] = lambda: _pairs(bench) == 3  # noqa: E731
    bench.inspector.shadow(None)
    eventually(done, 10, "three pairs")
    bench.stop()
    shadow = next(window.shadow for window in bench.windows() if window.shadow)
    assert (shadow.candidate, shadow.only_candidate_rejects) == (B, 3)
    entries = bench.spool.pending(Stream.SAMPLES, 0, 10, 10**9)
    assert [entry.record.body and entry.record.body["why"] for entry in entries] == [
        "disagreement"
    ] * 3


def _pairs(bench: Bench) -> int:
    return sum(window.shadow.pairs for window in bench.windows() if window.shadow)
