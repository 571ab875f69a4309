"""What inspection leaves behind: verdict batches, windows and pictures, stored beside inspection.

While one batch is written (images are encoded, and the disk is waited for), the next one gathers. A
window and the batch of its last parts are stored together, so that no part counts in two windows.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.batch import Batch, BatchStore, Picture
from edge_agent.config import WindowsConfig
from edge_agent.sampling import Why
from edge_agent.shadow import Pair
from edge_agent.source.base import Progress
from fleet_contract.clock import Clock
from fleet_contract.inference.accumulate import ShadowAccumulator, WindowAccumulator
from fleet_contract.inference.features import frame_statistics
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame
from fleet_contract.messages import PartVerdict
from fleet_contract.names import Verdict
from fleet_contract.windows import Window

log = logging.getLogger(__name__)

BATCH_PARTS, BATCH_S = 32, 1.0
_MOST_VERDICTS_HELD, _MOST_WINDOWS_HELD = 20_000, 1_000
_MOST_PICTURE_BYTES = 32 * 2**20
"""What memory holds while the disk is full or slow; older ones are given up and counted."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How one part ended, with what the window counts of it."""

    verdict: PartVerdict
    late: bool = False
    fault: bool = False
    failed: str | None = None
    """The candidate that was to judge it and did not: the verdict is another bundle's, but the part
    is the candidate's, and counts as one that it had no decision on."""


class Report:
    """Used by the inspection's thread; `writer` stores, one batch at a time, and then calls `stored`."""

    def __init__(
        self,
        store: BatchStore,
        writer: Executor,
        clock: Clock,
        config: WindowsConfig,
        *,
        line: str,
        camera: str,
        deadline_s: float,
        stored: Callable[[], None],
    ) -> None:
        """`camera` names the first view of a part: parts are counted in its windows."""
        self._store, self._writer, self._stored = store, writer, stored
        self._clock, self._config = clock, config
        self._line, self._camera, self._deadline_ms = line, camera, deadline_s * 1e3
        self._verdicts: deque[PartVerdict] = deque()
        self._windows: deque[Window] = deque()
        self._pictures: deque[Picture] = deque()
        self._writing: tuple[Future[None], Batch] | None = None
        self.not_stored = ""
        """Why the last batch could not be stored and waits in memory; '' where it was."""
        # Long ago: the first verdict after a start or a pause is stored at once, not a batch later.
        self._stored_s = -1e9
        self._sampled_s: dict[str, float] = {}
        self._shift_references: dict[tuple[str, str], NDArray[np.float32]] = {}
        self.write_failures = self.given_up = 0
        self.requested = store.requested()
        """How many of the next parts the server wants as samples; durable with each batch."""
        self.progress = store.progress()
        self.digest: str | None = None
        self._candidate: str | None = None
        self._open_window()

    def _open_window(self) -> None:
        self._windows_open: dict[tuple[str, str], WindowAccumulator] = {}
        self._window = self._window_of(self._camera, "")
        self._opened_s = self._clock.monotonic()
        if self._candidate is not None:
            self._window.shadow = ShadowAccumulator(self._candidate, judge=self.digest is None)

    def _window_of(self, view: str, recipe: str) -> WindowAccumulator:
        """The open window of one view and recipe."""
        found = self._windows_open.get((view, recipe))
        if found is None:
            found = WindowAccumulator(self._line, view, self.digest, self._clock.time(), recipe)
            self._windows_open[view, recipe] = found
        return found

    def swap(self, digest: str | None, candidate: str | None) -> None:
        """Another active bundle or candidate judges from now on: a new window."""
        if (digest, candidate) == (self.digest, self._candidate):
            return
        self._close_windows()
        self.digest, self._candidate = digest, candidate
        self._open_window()
        self._begin()

    def _close_windows(self) -> None:
        now_s = self._clock.time()
        self._windows.extend(one.close(now_s) for one in self._windows_open.values() if one.filled)
        self._trim()

    def part(self, judged: Judged, progress: Progress) -> None:
        """One part's end."""
        verdict = judged.verdict
        self._verdicts.append(verdict)
        self._trim()
        # Without a score nobody knows that the part was of its recipe, nor that there is such a one.
        recipe = "" if verdict.score is None else verdict.recipe
        self._window_of(self._camera, recipe).verdict(
            verdict.number,
            Verdict.NO_DECISION if judged.failed else verdict.verdict,
            digest=judged.failed or verdict.digest,
            latency_ms=verdict.latency_ms,
            late=judged.late,
            fault=judged.fault,
        )
        self.progress = progress

    def score(self, view: str, recipe: str, digest: str, score: float) -> None:
        """What the bundle `digest` gave one view."""
        self._window_of(view, recipe).score(digest, score)

    def frame(self, frame: Frame, view: str, recipe: str) -> None:
        """Measures a view's frame, where one is due by the configured rate."""
        now = self._clock.monotonic()
        if now - self._sampled_s.get(view, -1e9) < 1 / self._config.sample_rate:
            return
        self._sampled_s[view] = now
        reference = self._shift_references.get((view, recipe))
        statistics = frame_statistics(frame, reference)
        if reference is None:
            self._shift_references[view, recipe] = statistics.grey
        self._window_of(view, recipe).frame(statistics)

    def pair(self, pair: Pair) -> bool:
        """One part judged by both; whether they disagree."""
        shadow = self._window.shadow
        if shadow is None:
            return False
        if pair.candidate is None:
            shadow.fault()
            return False
        late = pair.candidate.latency_ms > self._deadline_ms
        difference = pair.candidate.score - pair.active.score
        shadow.pair(
            pair.active.verdict, pair.candidate.verdict, difference, pair.candidate.latency_ms, late
        )
        return pair.candidate.verdict is not pair.active.verdict

    def shed(self) -> None:
        """One part that the candidate had no time for."""
        if self._window.shadow is not None:
            self._window.shadow.shed()

    def lost(self, unpaired: int, shed: int) -> None:
        """Parts and verdicts of those who judge today that found no partner, and parts shed."""
        if self._window.shadow is not None:
            self._window.shadow.unpaired(unpaired)
            for _ in range(shed):
                self._window.shadow.shed()

    def sample(
        self, why: Why, frame: Frame, verdict: PartVerdict, candidate: Judgement | None = None,
        *, camera: str, heat: NDArray[np.float32] | None = None,
    ) -> None:  # fmt: skip
        """An image for review, of the view `camera`, with its defect map; waits for the next batch."""
        if self._held(frame.nbytes) > _MOST_PICTURE_BYTES:
            self._begin()
        if self._pictures and self._held(frame.nbytes) > _MOST_PICTURE_BYTES:
            self.given_up += 1
            return
        digest = self._candidate if candidate else None
        self._pictures.append(Picture(why, frame, camera, verdict, candidate, digest, heat))

    def _held(self, more: int) -> int:
        return more + sum(picture.frame.nbytes for picture in self._pictures)

    def _trim(self) -> None:
        """Gives up the oldest of what is too much: a batch that failed comes back on top of the next."""
        while len(self._verdicts) > _MOST_VERDICTS_HELD:
            self._verdicts.popleft()
            self.given_up += 1
        while len(self._windows) > _MOST_WINDOWS_HELD:
            self._windows.popleft()
            self.given_up += 1
        while len(self._pictures) > 1 and self._held(0) > _MOST_PICTURE_BYTES:
            self._pictures.popleft()
            self.given_up += 1

    def disagreement(self, pair: Pair, frame: Frame, camera: str) -> None:
        """A part on which active and candidate differ, with both their words, as one view shows it."""
        score = pair.active.score if pair.active_digest else None
        verdict = PartVerdict(
            number=pair.part, verdict=Verdict(pair.active.verdict), score=score,
            digest=pair.active_digest, latency_ms=pair.active.latency_ms, time_s=self._clock.time(),
        )  # fmt: skip
        candidate, own = pair.candidate, pair.active.mask_logits
        # Those who judge today draw no map.
        theirs = candidate and (candidate.verdict is Verdict.REJECT or pair.active_digest is None)
        heat = candidate.mask_logits if candidate and theirs else own
        self.sample("disagreement", frame, verdict, candidate, camera=camera, heat=heat)

    # Storing.

    def tick(self) -> None:
        """Closes the window, and has what waits stored, where they are due."""
        now = self._clock.monotonic()
        self._settle(wait=False)
        ended = now - self._opened_s >= self._config.length
        if ended:
            self._close_windows()
            self._open_window()
        full = len(self._verdicts) >= BATCH_PARTS and not self.not_stored
        if ended or full or now - self._stored_s >= BATCH_S:
            self._begin()

    def flush(self) -> bool:
        """Stores all that waits before it returns; False where it could not be stored, and is kept."""
        self._settle(wait=True)
        self._begin()
        self._settle(wait=True)
        return not self._waiting()

    def close(self) -> None:
        """Stores what there is, the open window included. The writer is no longer needed then."""
        self._close_windows()
        self._open_window()
        self.flush()
        self._writer.shutdown()

    def _waiting(self) -> bool:
        return bool(self._verdicts or self._windows or self._pictures)

    def _begin(self) -> None:
        """Hands what waits to the writer, unless that is at work."""
        if self._writing is not None or not self._waiting():
            return
        self._stored_s = self._clock.monotonic()
        batch = Batch(
            list(self._verdicts), list(self._windows), list(self._pictures), self.requested,
            self.progress,
        )  # fmt: skip
        self._verdicts.clear()
        self._windows.clear()
        self._pictures.clear()
        self._writing = self._writer.submit(self._write, batch), batch

    def _write(self, batch: Batch) -> None:
        """In the writer's thread."""
        self._store.store(batch)
        self._stored()

    def _settle(self, *, wait: bool) -> None:
        """Takes note of how the last batch ended; one that could not be stored waits again."""
        if self._writing is None:
            return
        future, batch = self._writing
        if not wait and not future.done():
            return
        self._writing = None
        try:
            future.result()
        except (sqlite3.Error, OSError) as error:
            if not self.not_stored:
                log.error("verdicts cannot be stored, inspection goes on: %s", error)
            self.write_failures += 1
            self.not_stored = str(error)
            self._verdicts.extendleft(reversed(batch.verdicts))
            self._windows.extendleft(reversed(batch.windows))
            self._pictures.extendleft(reversed(batch.pictures))
            self._trim()
        else:
            self.not_stored = ""
