"""One frame's way, read in order: source -> preprocess -> infer -> decide -> act -> report.

A part is never dropped silently: it ends in a verdict, no_decision included, and the trigger's
numbers prove it. Everything that changes what judges is done between two parts, by this thread.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from edge_agent.beside import Beside, Candidate
from edge_agent.box.lately import Lately
from edge_agent.canary import Canary, Share
from edge_agent.canary import Watch as CanaryWatch
from edge_agent.config import SamplesConfig
from edge_agent.health import Meter
from edge_agent.judge.base import Today
from edge_agent.judge.shadow import JudgedShadow
from edge_agent.judging import LATE, is_silent, look_at
from edge_agent.link_rules import Backoff
from edge_agent.loaded import Loaded
from edge_agent.looks import Look, OpenPart, conclude
from edge_agent.orders import Orders
from edge_agent.output.base import Output
from edge_agent.report import Judged, Report
from edge_agent.sampling import SamplePolicy
from edge_agent.shadow import ShadowRunner
from edge_agent.source.base import GAP, CameraLost, Captured, CounterRestarted, Progress, Source
from edge_agent.update.updater import Watch
from edge_agent.views import Plan
from fleet_contract.clock import Clock
from fleet_contract.messages import PartVerdict
from fleet_contract.names import Verdict

log = logging.getLogger(__name__)

_WAIT_S = 0.25
_GAP_CHUNK = 500
_MOST_PICTURES = 32
"""Parts whose views wait for others with their pictures; beyond it they are judged but not kept."""
Tell = Callable[[str, str, str], None]
"""(kind, text, severity): an event of this line."""


class Inspector:
    """The line's thread. `activate`, `shadow`, `request_samples`, `sample_by` may be called from any other."""

    def __init__(
        self,
        source: Source,
        output: Output,
        report: Report,
        policy: SamplePolicy,
        meter: Meter,
        clock: Clock,
        *,
        deadline_s: float,
        shadow_queue: int,
        tell: Tell,
        plan: Plan,
        today: Today | None = None,
    ) -> None:
        """`today`: who judges the line until a bundle does."""
        self._source, self._output, self._report = source, output, report
        self._plan, self._today = plan, today
        self._open: deque[OpenPart] = deque()
        self._policy, self.meter, self._clock = policy, meter, clock
        self._deadline_s, self._shadow_queue = deadline_s, shadow_queue
        self._tell = tell
        self._active: Loaded | None = None
        self._watch: Watch | None = None
        self._beside = Beside(plan, report, self._wanted)
        self._active_s: float | None = None
        """About the longest that the active bundle takes for a view."""
        self.lately = Lately(clock)
        """What the last parts looked like, for the person at the box."""
        self._orders = Orders()
        self._stop = threading.Event()
        self._backoff = Backoff(0.2, 5)
        self._lost: set[str] = set()
        """Cameras that are away."""
        self.turned_s = clock.monotonic()
        """When the loop last came round: a watchdog's proof of life."""

    @property
    def inspecting(self) -> bool:
        """Whether parts are judged at present."""
        enough = not self._lost or self._plan.enough_without(self._lost)
        return self._active is not None and enough and not self._orders.ended

    @property
    def shadow_waiting(self) -> int:
        """Frames that wait for the candidate."""
        return self._beside.waiting

    @property
    def given_up(self) -> int:
        """What memory could not hold while the disk was full or slow."""
        return self._report.given_up

    @property
    def not_stored(self) -> str:
        """Why reports wait in memory; '' where they do not."""
        return self._report.not_stored

    # The loop.

    def run(self, active: Loaded | None) -> None:
        """Until `stop`; `active` judges first."""
        self._set_active(active, None)
        self._source.start(self._report.progress.trigger)
        if self._today is not None:
            self._today.judge.start(self._beside.hear)
        try:
            while not self._stop.is_set():
                self._turn()
        finally:
            self._orders.end()
            if self._today is not None:
                self._today.judge.close()
            self._beside.close(self._clock.monotonic())
            self._report.close()
            self._source.close()
            self._output.close()

    def _turn(self) -> None:
        self.turned_s = self._clock.monotonic()
        self._orders.take()
        captured = self._capture()
        if self._beside.owes and self._spare(captured):
            self._beside.pay(self._active)
        if captured is not None:
            self._gap(captured.trigger)
            self._view(captured)
        self._beside.settle(self._clock.monotonic())
        self._report.tick()

    def _spare(self, captured: Captured | None) -> bool:
        """Whether there is time for a second word: the part at hand would still be in time."""
        if captured is None:
            return True
        left_s = captured.arrival_s + self._deadline_s - self._clock.monotonic()
        return left_s > 3 * self._reserve_s

    @property
    def _reserve_s(self) -> float:
        """What the active bundle needs for a part."""
        per_view_s = self._deadline_s if self._active_s is None else self._active_s
        return per_view_s * len(self._plan.views)

    def _view(self, captured: Captured) -> None:
        """One view, judged as it comes; its part ends once all of its views came."""
        part = self._opened(captured)
        if part is None:
            log.warning("a view of trigger %d came after its part had ended", captured.trigger)
            return
        self._look(part, captured)
        while self._open and len(self._open[0].looks) == len(self._plan.views):
            self._part(self._open.popleft())

    def _opened(self, captured: Captured) -> OpenPart | None:
        for part in self._open:
            if part.first.trigger == captured.trigger:
                return part
        if captured.trigger <= (self._report.progress.trigger or 0):
            return None
        progress = self._report.progress.at(captured.trigger)
        canary = self._beside.whose(progress.part)
        judges = canary.loaded if canary else self._active
        self._open.append(OpenPart(progress, captured, judges, canary))
        self._expect(progress.part, captured.arrival_s + self._deadline_s)
        return self._open[-1]

    def _look(self, part: OpenPart, captured: Captured) -> None:
        look = self._judged(part, captured)
        if part.canary is not None and part.failed is None and is_silent(look):
            part.failed = look
            self._hand_over(part)
            look = self._judged(part, captured)
        if len(self._open) > _MOST_PICTURES:
            look = replace(look, captured=replace(captured, frame=None))
        part.looks.append(look)

    def _hand_over(self, part: OpenPart) -> None:
        """The active bundle judges all views of a part that was the candidate's."""
        part.active = self._active
        part.looks = [self._judged(part, look.captured) for look in part.looks]

    def _judged(self, part: OpenPart, captured: Captured) -> Look:
        if part.canary is not None and part.failed is None:
            judge = partial(part.canary.judge, patience_s=self._patience_s(part))
            return look_at(judge, captured, self._plan, self._clock)
        active = part.active.model.judge if part.active else None
        look = look_at(active, captured, self._plan, self._clock)
        if look.judgement is not None and part.active is self._active:
            # A single slow one is forgotten over some dozens of others.
            self._active_s = max(look.judged_s - look.began_s, 0.98 * (self._active_s or 0.0))
        return look

    def _patience_s(self, part: OpenPart) -> float:
        """How long the candidate is waited for: until the active bundle would only just be in time,
        but half of what is left in any case."""
        left_s = part.first.arrival_s + self._deadline_s - self._clock.monotonic()
        return max(left_s - self._reserve_s, left_s / 2)

    def _end_open(self) -> None:
        """Ends what is open: the views that it still lacks will not come."""
        while self._open:
            part = self._open.popleft()
            for captured in part.missing(self._plan):
                self._look(part, captured)
            self._part(part)

    def _part(self, part: OpenPart) -> None:
        """One part's end, from its last view to its report."""
        active, first, last = part.active, part.first, part.looks[-1]
        end = conclude(self._plan, part.looks, lambda recipe: _threshold(active, recipe))
        latency_s = last.judged_s - first.arrival_s
        late = end.score is not None and latency_s > self._deadline_s
        fault = any(look.fault for look in (part.failed, *part.looks) if look is not None)
        verdict = PartVerdict(
            number=part.progress.part,
            verdict=Verdict.NO_DECISION if late else end.verdict,
            reason=LATE if late else end.reason,
            score=end.score,
            digest=active.digest if active else None,
            slot="candidate" if part.canary else "active",
            latency_ms=latency_s * 1e3,
            time_s=self._clock.time(),
            recipe=first.recipe,
            external_id=first.external_id,
            view=self._name(end.look) if self._plan.several else "",
        )
        self._act(verdict)
        acted_s = self._clock.monotonic()
        judged = _counted(part, verdict, late, fault)
        self._report.part(judged, part.progress)
        self.meter.part(verdict, acted_s)
        self.lately.part(verdict, end.look.captured.frame, end.look.judgement)
        self._measure(part)
        self._choose_sample(verdict, end.look, active)
        if end.score is not None:
            self._beside.judged(part, end, end.score)
        elif active is None:
            self._beside.undecided(part)
        # Without a picture a part says nothing of the bundle; nor one that an older one judged.
        if any(look.captured.frame is not None for look in part.looks):
            self._watch_part(part, judged)
        came_s = last.captured.arrival_s
        times = (came_s, last.began_s, last.judged_s, acted_s, self._clock.monotonic())
        self.meter.stages.part(*times)

    def _name(self, look: Look) -> str:
        return self._plan.views[look.captured.view].name

    def _measure(self, part: OpenPart) -> None:
        """Each view for the windows of its own."""
        for look in part.looks:
            judgement, frame, name = look.judgement, look.captured.frame, self._name(look)
            if part.active is not None and judgement is not None:
                self._report.score(name, part.first.recipe, part.active.digest, judgement.score)
            # What is not judged is not known to be of its recipe, and says nothing of the line's.
            recipe = part.first.recipe
            if frame is not None and (judgement is not None or not recipe):
                self._report.frame(frame, name, recipe)

    def _capture(self) -> Captured | None:
        try:
            # A line that stands still is the time for what is owed.
            captured = self._source.next(0.0 if self._beside.owes else _WAIT_S)
        except CounterRestarted as error:
            self._restarted(error)
            return None
        except CameraLost as error:
            if error.camera not in self._lost:
                self._lost.add(error.camera)
                self._tell("camera", f"{_called(error.camera)} is lost: {error}", "error")
            if not error.reconnecting:
                self._stop.wait(self._backoff.next())
            return None
        # A part without a picture may have passed while the camera is still away.
        if self._lost and (captured is None or captured.frame is not None):
            self._back(captured)
        self._backoff.reset()
        return captured

    def _back(self, captured: Captured | None) -> None:
        """Where nothing came no camera is away any more; a picture speaks for its own."""
        seen = None if captured is None else self._plan.views[captured.view].camera
        for camera in sorted(self._lost):
            if seen is None or camera in ("", seen):
                self._lost.remove(camera)
                self._tell("camera", f"{_called(camera)} is back", "info")

    def _restarted(self, error: CounterRestarted) -> None:
        self._end_open()
        self._report.progress = self._report.progress.restarted()
        self._source.start(0)
        base = self._report.progress.base
        self._tell(
            "camera",
            f"the camera counts from the beginning again ({error}); its parts go on from {base}",
            "warning",
        )

    def _gap(self, trigger: int) -> None:
        """Parts that passed unseen end in no_decision, each with its number."""
        last = self._open[-1].progress if self._open else self._report.progress
        missing = last.missing(trigger)
        if not missing:
            return
        self._end_open()
        self._tell("camera", f"{len(missing)} parts passed without a frame", "warning")
        for count, number in enumerate(missing, 1):
            progress = self._report.progress.at(number)
            verdict = _unseen(progress, self._clock.time())
            self._act(verdict)
            self._report.part(Judged(verdict), progress)
            self.meter.part(verdict, self._clock.monotonic())
            self._beside.passed(verdict.number, self._clock.monotonic())
            if count % _GAP_CHUNK == 0:
                self._report.flush()
        self._report.flush()

    def _expect(self, part: int, due_s: float) -> None:
        try:
            self._output.expect(part, due_s)
        except OSError as error:
            self._output_failed(error)

    def _act(self, verdict: PartVerdict) -> None:
        try:
            self._output.act(verdict)
        except OSError as error:
            self._output_failed(error)

    def _output_failed(self, error: OSError) -> None:
        self.meter.output_failures += 1
        if self.meter.output_failures == 1:
            self._tell("fault", f"the line's output fails: {error}", "error")

    def _choose_sample(self, verdict: PartVerdict, look: Look, judge: Loaded | None) -> None:
        if look.captured.frame is None:
            return
        # Without a score nothing is near a threshold; the recipe may then be one that is not known.
        decision = judge.model.manifest.decision if judge else None
        if decision is not None and verdict.score is not None:
            decision = decision.for_recipe(look.recipe)
        why = self._policy.choose(
            verdict.number,
            verdict.verdict,
            verdict.score,
            threshold=decision.threshold if decision else 0.0,
            near_margin=decision.near_margin if decision else 0.0,
            requested=self._report.requested > 0,
            now_s=self._clock.monotonic(),
        )
        if why == "requested":
            self._report.requested -= 1
        if why is not None:
            self._report.sample(
                why, look.captured.frame, verdict, camera=self._name(look),
                heat=look.judgement.mask_logits if look.judgement else None,
            )  # fmt: skip

    def _wanted(self) -> bool:
        """Whether one more disagreement may be sent."""
        return self._policy.disagreement(self._clock.monotonic())

    # Between two parts.

    def activate(self, loaded: Loaded | None, watch: Watch | None) -> None:
        """Exchanges the active bundle between two parts; that it is active is durable by then.

        Nothing here waits for the disk: the line must not. Raises StateError when inspection has
        ended.
        """
        self._orders.do(lambda: self._set_active(loaded, watch))

    def shadow(self, candidate: Loaded | None) -> None:
        """Runs `candidate` beside the active bundle, or none. Raises StateError when ended."""
        self._put(lambda: self._shadow_of(candidate) if candidate else None)

    def _shadow_of(self, candidate: Loaded) -> Candidate:
        limit, plan = self._shadow_queue, self._plan
        if self._active is None and self._today is not None:
            return JudgedShadow(candidate, limit, plan, self._today.within_s)
        return ShadowRunner(candidate, limit, plan)

    def canary(self, candidate: Loaded, share: Share, watch: CanaryWatch) -> None:
        """From the next part on `candidate` judges its share. Raises StateError when ended."""
        self._put(lambda: Canary(candidate, share, watch, self._shadow_queue))

    def _put(self, made: Callable[[], Candidate | None]) -> None:
        ended: list[Candidate | None] = []
        self._orders.do(lambda: ended.append(self._exchange(made())))
        for one in ended:
            # Here, and not between two parts: a candidate that hangs must not hold up the line.
            if one is not None:
                one.join()

    def _exchange(self, candidate: Candidate | None) -> Candidate | None:
        for part in self._open:
            if part.canary is not None:
                # The rest of its views would find the candidate gone.
                part.canary = None
                self._hand_over(part)
        ended = self._beside.put(candidate, self._clock.monotonic())
        self._report.swap(self._report.digest, self._beside.digest)
        return ended

    def request_samples(self, count: int) -> None:
        """The next `count` parts are sent as samples. Raises StateError when ended."""

        def add() -> None:
            self._report.requested += count

        self._orders.do(add)

    def sample_by(self, config: SamplesConfig) -> None:
        """Chooses samples by other settings from the next part on. Raises StateError when ended."""

        def exchange() -> None:
            self._policy = self._policy.by(config)

        self._orders.do(exchange)

    def stop(self) -> None:
        """Ends the loop after the part that it is at."""
        self._stop.set()

    def _set_active(self, loaded: Loaded | None, watch: Watch | None) -> None:
        self._active, self._watch, self._active_s = loaded, watch, None
        self._report.swap(loaded.digest if loaded else None, self._beside.digest)

    def _watch_part(self, part: OpenPart, judged: Judged) -> None:
        verdict, late, fault = judged.verdict, judged.late, judged.fault
        if part.canary is not None:
            word = Verdict.NO_DECISION if judged.failed else verdict.verdict
            score = None if judged.failed else verdict.score
            if not part.canary.watch.part(word, score, late=late, fault=fault):
                self._exchange(None)
            return
        if self._watch is None or part.active is None or part.active is not self._active:
            return
        outcome = self._watch.probation.part(verdict.verdict, verdict.score, late=late, fault=fault)
        if outcome is not None:
            self._set_active(self._watch.end(outcome), None)


def _called(camera: str) -> str:
    return f"the camera {camera}" if camera else "the camera"


def _threshold(active: Loaded | None, recipe: str) -> float:
    return active.model.manifest.decision.for_recipe(recipe).threshold if active else 0.0


def _counted(part: OpenPart, verdict: PartVerdict, late: bool, fault: bool) -> Judged:
    """How the part counts; one that the candidate failed on is the candidate's all the same."""
    if part.canary is None or part.failed is None:
        return Judged(verdict, late, fault)
    return Judged(verdict, late or part.failed.reason == LATE, fault, part.canary.digest)


def _unseen(progress: Progress, time_s: float) -> PartVerdict:
    return PartVerdict(
        number=progress.part,
        verdict=Verdict.NO_DECISION,
        reason=GAP,
        latency_ms=0,
        time_s=time_s,
    )
