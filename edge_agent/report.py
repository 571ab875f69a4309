"""What inspection leaves behind: verdict batches, windows and samples, stored in one transaction.

The transaction that stores a batch also moves the camera's progress. A kill before it loses nothing:
the camera still has those frames, they are judged again and stored once. A window and the batch of
its last parts are stored together, so that no part counts in two windows.
"""

import logging
import sqlite3
import uuid
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import WindowsConfig
from edge_agent.db import Database
from edge_agent.sampling import WORTH, Why
from edge_agent.shadow import Pair
from edge_agent.source.base import Progress
from edge_agent.spool import Spool, Value
from fleet_contract.blocks import block_count, sha256
from fleet_contract.clock import Clock
from fleet_contract.inference.accumulate import ShadowAccumulator, WindowAccumulator
from fleet_contract.inference.features import frame_statistics
from fleet_contract.inference.preprocess import Frame, encode_png
from fleet_contract.messages import PartsBody, PartVerdict, SampleBody, Stream
from fleet_contract.names import Verdict
from fleet_contract.topics import BLOCK_LIMIT
from fleet_contract.windows import Window

log = logging.getLogger(__name__)

BATCH_PARTS, BATCH_S = 32, 1.0
_MOST_IN_A_BATCH = 500
_MOST_VERDICTS_HELD, _MOST_WINDOWS_HELD, _MOST_SAMPLES_HELD = 20_000, 1_000, 16
"""What memory holds while the disk is full; older ones are given up and counted."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How one part ended, with what the window counts of it."""

    verdict: PartVerdict
    late: bool = False
    fault: bool = False


class Report:
    """Used by the inspection's thread."""

    def __init__(
        self,
        db: Database,
        spool: Spool,
        clock: Clock,
        config: WindowsConfig,
        *,
        line: str,
        camera: str,
        deadline_s: float,
    ) -> None:
        self._db, self._spool, self._clock, self._config = db, spool, clock, config
        self._line, self._camera, self._deadline_ms = line, camera, deadline_s * 1e3
        self._verdicts: deque[PartVerdict] = deque()
        self._windows: deque[Window] = deque()
        self._samples: deque[tuple[SampleBody, Why, bytes]] = deque()
        # Long ago: the first verdict after a start or a pause is stored at once, not a batch later.
        self._stored_s = -1e9
        self._sampled_s = -1e9
        self._shift_reference: NDArray[np.float32] | None = None
        self.write_failures = self.given_up = 0
        self.requested = int(db.get("requested_samples", "0"))
        """How many of the next parts the server wants as samples; durable with each batch."""
        self.progress = self._load_progress()
        self.digest: str | None = None
        self._candidate: str | None = None
        self._open_window()

    def _load_progress(self) -> Progress:
        rows = self._db.rows("SELECT base, trigger FROM progress WHERE camera = ?", self._camera)
        return Progress(rows[0][0], rows[0][1]) if rows else Progress()

    def _open_window(self) -> None:
        self._window = WindowAccumulator(self._line, self._camera, self.digest, self._clock.time())
        self._opened_s = self._clock.monotonic()
        if self._candidate is not None:
            self._window.shadow = ShadowAccumulator(self._candidate)

    def swap(self, digest: str | None, candidate: str | None) -> None:
        """Another active bundle or candidate judges from now on: a new window."""
        if (digest, candidate) == (self.digest, self._candidate):
            return
        self._close_window()
        self.digest, self._candidate = digest, candidate
        self._open_window()
        self.flush()

    def _close_window(self) -> None:
        window = self._window.close(self._clock.time())
        if window.sampled_frames or self._window.parts or window.shadow:
            self._windows.append(window)
        if len(self._windows) > _MOST_WINDOWS_HELD:
            self._windows.popleft()
            self.given_up += 1

    def part(self, judged: Judged, progress: Progress) -> None:
        """One part's end."""
        verdict = judged.verdict
        self._verdicts.append(verdict)
        if len(self._verdicts) > _MOST_VERDICTS_HELD:
            self._verdicts.popleft()
            self.given_up += 1
        self._window.verdict(
            verdict.number,
            verdict.verdict,
            digest=verdict.digest,
            score=verdict.score,
            latency_ms=verdict.latency_ms,
            late=judged.late,
            fault=judged.fault,
        )
        self.progress = progress

    def frame(self, frame: Frame) -> None:
        """Measures a frame, where one is due by the configured rate."""
        now = self._clock.monotonic()
        if now - self._sampled_s < 1 / self._config.sample_rate:
            return
        self._sampled_s = now
        statistics = frame_statistics(frame, self._shift_reference)
        if self._shift_reference is None:
            self._shift_reference = statistics.grey
        self._window.frame(statistics)

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

    def sample(
        self, why: Why, frame: Frame, verdict: PartVerdict, pair: Pair | None = None
    ) -> None:
        """An image for review; waits for the next batch."""
        if len(self._samples) >= _MOST_SAMPLES_HELD:
            self.flush()
        if len(self._samples) >= _MOST_SAMPLES_HELD:
            self.given_up += 1
            return
        png = encode_png(frame)
        candidate = pair.candidate if pair else None
        body = SampleBody(
            sample_id=uuid.uuid4().hex,
            line=self._line,
            camera=self._camera,
            part=verdict.number,
            why=why,
            verdict=verdict.verdict,
            score=verdict.score,
            digest=verdict.digest,
            candidate_digest=self._candidate if candidate else None,
            candidate_verdict=candidate.verdict if candidate else None,
            candidate_score=candidate.score if candidate else None,
            sha256=sha256(png),
            length=len(png),
            blocks=block_count(len(png), BLOCK_LIMIT),
        )
        self._samples.append((body, why, png))

    def disagreement(self, pair: Pair) -> None:
        """A part on which active and candidate differ, with both their words."""
        verdict = PartVerdict(
            number=pair.part, verdict=Verdict(pair.active.verdict), score=pair.active.score,
            digest=pair.active_digest, latency_ms=pair.active.latency_ms, time_s=self._clock.time(),
        )  # fmt: skip
        self.sample("disagreement", pair.frame, verdict, pair)

    def tick(self) -> bool:
        """Closes the window and stores the batch where they are due; whether something was stored."""
        now = self._clock.monotonic()
        if now - self._opened_s >= self._config.length:
            self._close_window()
            self._open_window()
            return self.flush()
        full = len(self._verdicts) >= BATCH_PARTS
        if full or (self._waiting() and now - self._stored_s >= BATCH_S):
            return self.flush()
        return False

    def _waiting(self) -> bool:
        return bool(self._verdicts or self._windows or self._samples)

    def flush(self) -> bool:
        """Stores all that waits, and the progress with it. On a full disk it is kept for later."""
        if not self._waiting():
            return False
        self._stored_s = self._clock.monotonic()
        try:
            with self._db.transaction():
                self._store()
        except sqlite3.Error as error:
            if not self.write_failures:
                log.error("verdicts cannot be stored, inspection goes on: %s", error)
            self.write_failures += 1
            return False
        self._verdicts.clear()
        self._windows.clear()
        self._samples.clear()
        return True

    def _store(self) -> None:
        verdicts = list(self._verdicts)
        for start in range(0, len(verdicts), _MOST_IN_A_BATCH):
            batch = verdicts[start : start + _MOST_IN_A_BATCH]
            body = PartsBody(line=self._line, camera=self._camera, verdicts=batch)
            self._spool.append(Stream.PARTS, body, Value.PARTS)
        for window in self._windows:
            self._spool.append(Stream.WINDOWS, window, Value.WINDOW)
        for sample, why, png in self._samples:
            self._spool.append(Stream.SAMPLES, sample, WORTH[why], png)
        self._db.set("requested_samples", str(self.requested))
        if self.progress.trigger is not None:
            with self._db.transaction() as db:
                db.execute(
                    "INSERT OR REPLACE INTO progress VALUES (?, ?, ?)",
                    (self._camera, self.progress.base, self.progress.trigger),
                )

    def close(self) -> None:
        """Stores what there is, the open window included."""
        self._close_window()
        self._open_window()
        self.flush()
