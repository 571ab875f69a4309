"""One frame's way, read in order: source -> preprocess -> infer -> decide -> act -> report.

A part is never dropped silently: it ends in a verdict, no_decision included, and the trigger's
numbers prove it. Everything that changes what judges is done between two parts, by this thread.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import cv2

from edge_agent.box.lately import Lately
from edge_agent.health import Meter
from edge_agent.link_rules import Backoff
from edge_agent.loaded import Loaded
from edge_agent.looks import Conclusion, Look, OpenPart, conclude
from edge_agent.output.base import Output
from edge_agent.report import Judged, Report
from edge_agent.sampling import SamplePolicy
from edge_agent.shadow import ShadowRunner, Work
from edge_agent.source.base import GAP, CameraLost, Captured, CounterRestarted, Progress, Source
from edge_agent.update.updater import Watch
from edge_agent.views import Plan
from fleet_contract.clock import Clock
from fleet_contract.errors import DataError, ModelError, StateError, UnknownRecipe
from fleet_contract.inference.model import Judgement
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
    ) -> None:
        self._source, self._output, self._report = source, output, report
        self._plan = plan
        self._open: deque[OpenPart] = deque()
        self._policy, self.meter, self._clock = policy, meter, clock
        self._deadline_s, self._shadow_queue = deadline_s, shadow_queue
        self._tell = tell
        self._active: Loaded | None = None
        self._watch: Watch | None = None
        self._shadow: ShadowRunner | None = None
        self.lately = Lately(clock)
        """What the last parts looked like, for the person at the box."""
        self._between: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]]
        self._between = queue.SimpleQueue()
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._backoff = Backoff(0.2, 5)
        self._lost: set[str] = set()
        """Cameras that are away."""
        self.turned_s = clock.monotonic()
        """When the loop last came round: a watchdog's proof of life."""

    @property
    def inspecting(self) -> bool:
        """Whether parts are judged at present."""
        enough = not self._lost or self._plan.enough_without(self._lost)
        return self._active is not None and enough and not self._ended.is_set()

    @property
    def shadow_waiting(self) -> int:
        """Frames that wait for the candidate."""
        shadow = self._shadow
        return shadow.waiting if shadow else 0

    @property
    def given_up(self) -> int:
        """What memory could not hold while the disk was full or slow."""
        return self._report.given_up

    # The loop.

    def run(self, active: Loaded | None) -> None:
        """Until `stop`; `active` judges first."""
        self._set_active(active, None)
        self._source.start(self._report.progress.trigger)
        try:
            while not self._stop.is_set():
                self._turn()
        finally:
            self._ended.set()
            if self._shadow is not None:
                self._shadow.end()
                self._shadow.join()
            self._take_pairs()
            self._report.close()
            self._source.close()
            self._output.close()
            self._refuse_orders()

    def _turn(self) -> None:
        self.turned_s = self._clock.monotonic()
        self._take_orders()
        captured = self._capture()
        if captured is not None:
            self._gap(captured.trigger)
            self._view(captured)
        self._take_pairs()
        self._report.tick()

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
        self._open.append(OpenPart(progress, captured, self._active))
        self._expect(progress.part, captured.arrival_s + self._deadline_s)
        return self._open[-1]

    def _look(self, part: OpenPart, captured: Captured) -> None:
        recipe, began_s = self._plan.recipe(captured.view, captured.recipe), self._clock.monotonic()
        scale = self._plan.views[captured.view].mm_per_pixel
        judgement, reason, fault = _judge(part.active, captured, recipe, scale)
        judged_s = self._clock.monotonic()
        if len(self._open) > _MOST_PICTURES:
            captured = replace(captured, frame=None)
        part.looks.append(Look(captured, recipe, judgement, reason, fault, began_s, judged_s))

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
        fault = any(look.fault for look in part.looks)
        verdict = PartVerdict(
            number=part.progress.part,
            verdict=Verdict.NO_DECISION if late else end.verdict,
            reason="deadline" if late else end.reason,
            score=end.score,
            digest=active.digest if active else None,
            latency_ms=latency_s * 1e3,
            time_s=self._clock.time(),
            recipe=first.recipe,
            external_id=first.external_id,
            view=self._name(end.look) if self._plan.several else "",
        )
        self._act(verdict)
        acted_s = self._clock.monotonic()
        self._report.part(Judged(verdict, late, fault), part.progress)
        self.meter.part(verdict, acted_s)
        self.lately.part(verdict, end.look.captured.frame, end.look.judgement)
        self._measure(part)
        self._choose_sample(verdict, end.look)
        if end.score is not None:
            self._offer(part, end, end.score)
        # Without a picture a part says nothing of the bundle; nor one that an older one judged.
        seen = any(look.captured.frame is not None for look in part.looks)
        if active is not None and active is self._active and seen:
            self._watch_part(verdict, late, fault)
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
            captured = self._source.next(_WAIT_S)
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

    def _choose_sample(self, verdict: PartVerdict, look: Look) -> None:
        if look.captured.frame is None:
            return
        # Without a score nothing is near a threshold; the recipe may then be one that is not known.
        decision = self._active.model.manifest.decision if self._active else None
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
            self._report.sample(why, look.captured.frame, verdict, camera=self._name(look))

    # The candidate beside the active bundle.

    def _offer(self, part: OpenPart, end: Conclusion, score: float) -> None:
        looks = [look for look in part.looks if look.judgement is not None]
        kept = all(look.captured.frame is not None for look in looks)
        if self._shadow is None or part.active is None or end.look.judgement is None or not kept:
            return
        judgement = replace(end.look.judgement, verdict=end.verdict, score=score)
        work = Work(part.progress.part, looks, end.look, part.active.digest, judgement)
        if not self._shadow.offer(work):
            self._report.shed()

    def _take_pairs(self) -> None:
        for pair in self._shadow.results() if self._shadow else ():
            if self._report.pair(pair) and self._policy.disagreement(self._clock.monotonic()):
                self._report.disagreement(pair, self._plan.views[pair.view].name)

    # Between two parts.

    def activate(self, loaded: Loaded | None, watch: Watch | None) -> None:
        """Exchanges the active bundle between two parts; that it is active is durable by then.

        Nothing here waits for the disk: the line must not. Raises StateError when inspection has
        ended.
        """
        self._do_between(lambda: self._set_active(loaded, watch))

    def shadow(self, candidate: Loaded | None) -> None:
        """Runs `candidate` beside the active bundle, or none. Raises StateError when ended."""

        ended: list[ShadowRunner] = []

        def exchange() -> None:
            if self._shadow is not None:
                self._shadow.end()
                self._take_pairs()
                ended.append(self._shadow)
            self._shadow = None
            if candidate is not None:
                self._shadow = ShadowRunner(candidate, self._shadow_queue, self._plan)
            self._report.swap(self._report.digest, candidate.digest if candidate else None)

        self._do_between(exchange)
        for runner in ended:
            # Here, and not between two parts: a candidate that hangs must not hold up the line.
            runner.join()

    def request_samples(self, count: int) -> None:
        """The next `count` parts are sent as samples. Raises StateError when ended."""

        def add() -> None:
            self._report.requested += count

        self._do_between(add)

    def sample_by(self, policy: SamplePolicy) -> None:
        """Chooses samples by another policy from the next part on. Raises StateError when ended."""

        def exchange() -> None:
            self._policy = policy

        self._do_between(exchange)

    def stop(self) -> None:
        """Ends the loop after the part that it is at."""
        self._stop.set()

    def _do_between(self, act: Callable[[], None]) -> None:
        if self._ended.is_set():
            raise StateError("inspection has ended")
        done: Future[None] = Future()
        self._between.put((act, done))
        while not done.done() and not self._ended.wait(0.02):
            pass
        if not done.done():
            self._refuse_orders()
        done.result(timeout=5)

    def _take_orders(self) -> None:
        while not self._between.empty():
            act, done = self._between.get()
            act()
            done.set_result(None)

    def _refuse_orders(self) -> None:
        while not self._between.empty():
            _, done = self._between.get()
            done.set_exception(StateError("inspection has ended"))

    def _set_active(self, loaded: Loaded | None, watch: Watch | None) -> None:
        self._active, self._watch = loaded, watch
        candidate = self._shadow.digest if self._shadow else None
        self._report.swap(loaded.digest if loaded else None, candidate)

    def _watch_part(self, verdict: PartVerdict, late: bool, fault: bool) -> None:
        if self._watch is None:
            return
        outcome = self._watch.probation.part(verdict.verdict, verdict.score, late=late, fault=fault)
        if outcome is not None:
            self._set_active(self._watch.end(outcome), None)


def _called(camera: str) -> str:
    return f"the camera {camera}" if camera else "the camera"


def _threshold(active: Loaded | None, recipe: str) -> float:
    return active.model.manifest.decision.for_recipe(recipe).threshold if active else 0.0


def _judge(
    active: Loaded | None, captured: Captured, recipe: str, scale: float | None
) -> tuple[Judgement | None, str, bool]:
    """Judgement, or the reason why there is none and whether it is the runtime's fault."""
    if captured.frame is None:
        return None, captured.reason, False
    if active is None:
        return None, "model_not_ready", False
    try:
        return active.model.judge(captured.frame, recipe, scale), "", False
    except UnknownRecipe:
        return None, "unknown_recipe", False
    except DataError:
        return None, "frame_schema", False
    except (ModelError, cv2.error, ValueError, MemoryError) as error:
        log.error("the model failed on trigger %d: %s", captured.trigger, error)
        return None, "runtime", True


def _unseen(progress: Progress, time_s: float) -> PartVerdict:
    return PartVerdict(
        number=progress.part,
        verdict=Verdict.NO_DECISION,
        reason=GAP,
        latency_ms=0,
        time_s=time_s,
    )
