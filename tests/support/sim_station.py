"""Spool and sender of a device in simulated time, and its way to the server, for tests and benchmarks."""

import random
import uuid
from functools import cache
from pathlib import Path

import numpy as np

from edge_agent.db import Database
from edge_agent.sending import Sender
from edge_agent.spool import Spool, Stamp, Value
from fleet_contract.blocks import sha256
from fleet_contract.clock import ManualClock
from fleet_contract.inference.accumulate import WindowAccumulator
from fleet_contract.inference.features import frame_statistics
from fleet_contract.messages import EventBody, PartsBody, PartVerdict, SampleBody, Stream
from fleet_contract.names import Verdict
from fleet_contract.windows import Window
from tests.support.sim_wire import SimWire

BATCH = 30
STEP_S = 0.2
_IMAGE = bytes(range(256)) * 80


@cache
def _minute() -> WindowAccumulator:
    """Statistics of 60 pictures and parts."""
    made = WindowAccumulator("line", "cam-1", "a" * 64, 0.0)
    noise, reference = np.random.default_rng(7), None
    for number in range(60):
        frame = noise.normal(90 + number / 4, 20, (64, 64, 3)).clip(0, 255).astype(np.uint8)
        statistics = frame_statistics(frame, reference)
        reference = statistics.grey if reference is None else reference
        made.frame(statistics)
        made.verdict(
            number, Verdict.ACCEPT, digest="a" * 64, score=number / 60, latency_ms=number / 7
        )
    return made


class Station:
    """Spool and sender of a device, and its way to the server, on one clock that is turned by hand."""

    def __init__(self, folder: Path, *, limit: int, rate: float) -> None:
        self.clock = ManualClock()
        self._path = folder / "agent.db"
        self._limit = limit
        self.wire = SimWire(self.clock, rate)
        self._part = 0
        self._random = random.Random(7)
        self.open()

    def open(self) -> None:
        """The agent starts."""
        self.db = Database(self._path)
        # A day's commits in seconds: that they are durable is tested elsewhere.
        self.db.rows("PRAGMA synchronous=OFF")
        self.spool = Spool(self.db, self._limit, self._stamp)
        self.sender = Sender("station-1", 10.0, self.wire, self.spool, self.clock)

    def restart(self) -> None:
        """The agent ends, and starts again on what is durable."""
        self.wire.disconnect()
        self.db.close()
        self.open()

    def _stamp(self) -> Stamp:
        return Stamp("boot", self.clock.monotonic(), self.clock.time(), True)

    def close_window(self) -> Window:
        """A minute's statistics."""
        return _minute().close(self.clock.time())

    def window(self) -> int:
        """They are stored."""
        return self.spool.append(Stream.WINDOWS, self.close_window(), Value.WINDOW)

    def parts(self) -> int:
        """A second's verdicts are stored."""
        verdicts = [
            PartVerdict(
                number=self._part + n, verdict=Verdict.ACCEPT, score=self._random.random(),
                digest="a" * 64, latency_ms=self._random.uniform(1, 3), time_s=self.clock.time(),
            )
            for n in range(1, BATCH + 1)
        ]  # fmt: skip
        self._part += BATCH
        body = PartsBody(line="line", camera="cam-1", verdicts=verdicts)
        return self.spool.append(Stream.PARTS, body, Value.PARTS)

    def event(self) -> int:
        """Something happened."""
        return self.spool.append(
            Stream.EVENTS, EventBody(kind="camera", text="the camera is lost"), Value.EVENT
        )

    def sample(self, value: Value = Value.AUDIT_SAMPLE) -> int:
        """A picture of 20 kB in three blocks."""
        image = self._part.to_bytes(8, "big") + _IMAGE
        body = SampleBody(
            sample_id=uuid.uuid4().hex, line="line", camera="cam-1", part=self._part, why="audit",
            verdict=Verdict.ACCEPT, sha256=sha256(image), length=len(image), blocks=3,
        )  # fmt: skip
        return self.spool.append(Stream.SAMPLES, body, value, image)

    def turn(self, seconds: float = STEP_S) -> None:
        """The sender sends what it may, time goes on, the server's word comes."""
        while self.sender.step():
            pass
        self.wire.advance(seconds)
        self.wire.acknowledge(self.sender)

    def waiting(self) -> int:
        """Records in the spool."""
        return self.spool.usage()[0]
