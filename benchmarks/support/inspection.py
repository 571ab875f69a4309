"""The inspection as the agent runs it, with a source that is never the bottleneck."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from edge_agent.batch import BatchStore
from edge_agent.config import SamplesConfig, WindowsConfig
from edge_agent.db import Database
from edge_agent.health import Meter, settle_memory, stamp
from edge_agent.inspect import Inspector
from edge_agent.loaded import Loaded
from edge_agent.output.base import Outputs
from edge_agent.report import Report
from edge_agent.sampling import SamplePolicy
from edge_agent.source.base import Captured
from edge_agent.spool import Spool
from edge_agent.views import one_view
from fleet_contract.clock import SystemClock
from fleet_contract.inference.preprocess import Frame, decode_image
from fleet_contract.messages import PartVerdict

_DEADLINE_S = 10.0


class Pictures:
    """Always has the next picture ready, to be decoded, and says when it has given all."""

    def __init__(self, images: list[bytes], channels: int, frames: int) -> None:
        self._images, self._channels, self._frames = images, channels, frames
        self.given = 0
        self.empty = threading.Event()

    def start(self, after: int | None) -> None:
        """From the first one."""
        self.given = after or 0

    def next(self, timeout_s: float) -> Captured | None:
        """The next picture, decoded."""
        if self.given == self._frames:
            self.empty.set()
            time.sleep(timeout_s)
            return None
        image = self._images[self.given % len(self._images)]
        self.given += 1
        return Captured(decode_image(image, self._channels), self.given, time.monotonic())

    def close(self) -> None:
        """Nothing is held."""


class Paced:
    """Decoded frames, one every `1 / rate_hz` seconds, as a camera delivers them."""

    def __init__(self, frames: list[Frame], count: int, rate_hz: float) -> None:
        self._frames, self._count, self._period_s = frames, count, 1 / rate_hz
        self._given, self._due_s = 0, time.monotonic()
        self.empty = threading.Event()

    def start(self, after: int | None) -> None:
        """The first one comes a period from now."""
        self._given, self._due_s = after or 0, time.monotonic() + self._period_s

    def next(self, timeout_s: float) -> Captured | None:
        """The next frame when it is due."""
        if self._given == self._count:
            self.empty.set()
            time.sleep(timeout_s)
            return None
        time.sleep(max(self._due_s - time.monotonic(), 0))
        arrival_s, self._due_s = self._due_s, self._due_s + self._period_s
        self._given += 1
        return Captured(self._frames[self._given % len(self._frames)], self._given, arrival_s)

    def close(self) -> None:
        """Nothing is held."""


class Heard:
    """An output that notes when each verdict came."""

    def __init__(self) -> None:
        self.verdicts: list[tuple[float, PartVerdict]] = []

    def expect(self, part: int, due_s: float) -> None:
        """Not asked for."""

    def act(self, verdict: PartVerdict) -> None:
        """Notes it."""
        self.verdicts.append((time.monotonic(), verdict))

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def inspecting(
    source: Pictures | Paced, loaded: Loaded, folder: Path, heard: Heard | None = None
) -> Iterator[Inspector]:
    """An inspection that runs: statistics at 5 Hz, verdicts and windows durable in `folder`."""
    clock, db = SystemClock(), Database(folder / "agent.db")
    spool = Spool(db, 256_000_000, stamp)
    report = Report(
        BatchStore(db, spool, line="bench", camera="cam-1"), ThreadPoolExecutor(1), clock,
        WindowsConfig(), line="bench", camera="cam-1", deadline_s=_DEADLINE_S, stored=lambda: None,
    )  # fmt: skip
    inspector = Inspector(
        source, Outputs([heard] if heard else []), report,
        SamplePolicy(SamplesConfig(), spool.id, []), Meter(clock.monotonic()), clock,
        deadline_s=_DEADLINE_S, shadow_queue=8, tell=lambda *_: None,
        plan=one_view("cam-1"),
    )  # fmt: skip
    settle_memory()
    thread = threading.Thread(target=inspector.run, args=(loaded,))
    thread.start()
    try:
        yield inspector
    finally:
        inspector.stop()
        thread.join()
        db.close()
