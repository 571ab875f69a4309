"""What a span of inspection leaves, and how it is stored: all in one transaction.

The transaction that stores a batch also moves the camera's progress. A kill before it loses nothing:
the camera still has those frames, they are judged again and stored once.
"""

import uuid
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.db import Database
from edge_agent.heat import heat_map
from edge_agent.sampling import DAY_S, WORTH, Kept, Why
from edge_agent.source.base import Progress
from edge_agent.spool import Spool, Value
from fleet_contract.blocks import block_count, sha256
from fleet_contract.clock import Clock
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame, encode_png
from fleet_contract.messages import PartsBody, PartVerdict, SampleBody, Stream
from fleet_contract.windows import Window

_BLOCK_BYTES = 64 * 2**10
"""Of an image: small, so that on a slow link live data goes between two of them."""
MOST_IN_A_RECORD = 220
"""Verdicts with the longest recipes and part ids still fit one message of the broker."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image for review, not encoded yet."""

    why: Why
    frame: Frame
    camera: str
    """The view that it is of, by the name that windows have."""
    verdict: PartVerdict
    candidate: Judgement | None = None
    """What the candidate said of the part, where it says otherwise."""
    candidate_digest: str | None = None
    heat: NDArray[np.float32] | None = None
    """[h, w] float32, logits of the defect map."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.frame.shape[0], self.frame.shape[1]


@dataclass(frozen=True, slots=True)
class Batch:
    """Stored together or not at all."""

    verdicts: list[PartVerdict]
    windows: list[Window]
    pictures: list[Picture]
    requested: int
    """How many of the next parts the server wants as samples."""
    progress: Progress


class BatchStore:
    """Of one camera. `store` runs in one thread at a time, which need not be the inspection's."""

    def __init__(self, db: Database, spool: Spool, *, line: str, camera: str) -> None:
        self._db, self._spool, self._line, self._camera = db, spool, line, camera

    def progress(self) -> Progress:
        """Of the last batch."""
        rows = self._db.rows("SELECT base, trigger FROM progress WHERE camera = ?", self._camera)
        return Progress(rows[0][0], rows[0][1]) if rows else Progress()

    def requested(self) -> int:
        """Of the last batch."""
        return int(self._db.get("requested_samples", "0"))

    def kept(self, clock: Clock) -> list[Kept]:
        """The samples of the last 24 h that quotas count, in order."""
        wall_s, now_s = clock.time(), clock.monotonic()
        rows = self._db.rows(
            "SELECT why, at_s FROM kept WHERE at_s > ? ORDER BY at_s", wall_s - DAY_S
        )
        # One that was kept while the clock was ahead counts as of now.
        return [Kept(why, now_s - max(wall_s - at_s, 0.0)) for why, at_s in rows]

    def store(self, batch: Batch) -> None:
        """Raises sqlite3.Error, after which nothing of it is stored."""
        # Encoding takes long: no one else should wait for it.
        encoded = [self._encoded(picture) for picture in batch.pictures]
        with self._db.transaction() as db:
            for start in range(0, len(batch.verdicts), MOST_IN_A_RECORD):
                verdicts = batch.verdicts[start : start + MOST_IN_A_RECORD]
                body = PartsBody(line=self._line, camera=self._camera, verdicts=verdicts)
                self._spool.append(Stream.PARTS, body, Value.PARTS)
            for window in batch.windows:
                self._spool.append(Stream.WINDOWS, window, Value.WINDOW)
            for sample, png in encoded:
                self._spool.append(Stream.SAMPLES, sample, WORTH[sample.why], png)
            self._note_kept([p for p in batch.pictures if p.why != "requested"])
            self._db.set("requested_samples", str(batch.requested))
            if batch.progress.trigger is not None:
                db.execute(
                    "INSERT OR REPLACE INTO progress VALUES (?, ?, ?)",
                    (self._camera, batch.progress.base, batch.progress.trigger),
                )

    def _note_kept(self, pictures: list[Picture]) -> None:
        with self._db.transaction() as db:
            for picture in pictures:
                now_s = picture.verdict.time_s
                db.execute("INSERT INTO kept VALUES (?, ?)", (picture.why, now_s))
                db.execute("DELETE FROM kept WHERE at_s <= ?", (now_s - DAY_S,))
                db.execute("UPDATE kept SET at_s = ? WHERE at_s > ?", (now_s, now_s))

    def _encoded(self, picture: Picture) -> tuple[SampleBody, bytes]:
        png = encode_png(picture.frame)
        verdict, candidate = picture.verdict, picture.candidate
        body = SampleBody(
            sample_id=uuid.uuid4().hex,
            line=self._line,
            camera=picture.camera,
            part=verdict.number,
            why=picture.why,
            verdict=verdict.verdict,
            score=verdict.score,
            digest=verdict.digest,
            candidate_digest=picture.candidate_digest if candidate else None,
            candidate_verdict=candidate.verdict if candidate else None,
            candidate_score=candidate.score if candidate else None,
            heat_map="" if picture.heat is None else heat_map(picture.heat, picture.size),
            sha256=sha256(png),
            length=len(png),
            blocks=block_count(len(png), _BLOCK_BYTES),
        )
        return body, png
