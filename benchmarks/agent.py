"""What the agent costs beside its model: frames a second of the whole inspection, over a bare loop.

    python benchmarks/agent.py [BUNDLE.tar] [--frames 600]

Both decode the same PNGs and run the same model on one core. The agent also decides, acts, measures
windows (5 Hz), and stores verdicts and windows durably (SQLite, synchronous=FULL).
"""

import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.support.bundle import small_bundle
from benchmarks.support.program import run
from edge_agent.batch import BatchStore
from edge_agent.config import SamplesConfig, WindowsConfig
from edge_agent.db import Database
from edge_agent.health import Meter, stamp
from edge_agent.inspect import Inspector
from edge_agent.loaded import Loaded, load_bundle
from edge_agent.output.base import Outputs
from edge_agent.report import Report
from edge_agent.sampling import SamplePolicy
from edge_agent.source.base import Captured
from edge_agent.spool import Spool
from fleet_contract import archive
from fleet_contract.board import Board
from fleet_contract.clock import SystemClock
from fleet_contract.inference.preprocess import decode_image
from fleet_contract.names import Precision, Runtime


class Pictures:
    """A source that always has the next frame ready, and says when it has given all."""

    def __init__(self, images: list[bytes], channels: int, frames: int) -> None:
        self._images, self._channels, self._frames = images, channels, frames
        self._given = 0
        self.empty = threading.Event()

    def start(self, after: int | None) -> None:
        """From the first one."""
        self._given = after or 0

    def next(self, timeout_s: float) -> Captured | None:
        """The next picture, decoded."""
        if self._given == self._frames:
            self.empty.set()
            time.sleep(timeout_s)
            return None
        image = self._images[self._given % len(self._images)]
        self._given += 1
        return Captured(decode_image(image, self._channels), self._given, time.monotonic())

    def close(self) -> None:
        """Nothing is held."""


def bare(loaded: Loaded, images: list[bytes], channels: int, frames: int) -> float:
    """Frames a second of decoding and judging alone."""
    start = time.perf_counter()
    for number in range(frames):
        loaded.model.judge(decode_image(images[number % len(images)], channels))
    return frames / (time.perf_counter() - start)


def inspected(loaded: Loaded, pictures: Pictures, frames: int, folder: Path) -> float:
    """Frames a second of the whole inspection."""
    clock, db = SystemClock(), Database(folder / "agent.db")
    spool = Spool(db, 256_000_000, stamp)
    report = Report(
        BatchStore(db, spool, line="bench", camera="cam-1"), ThreadPoolExecutor(1), clock,
        WindowsConfig(), line="bench", camera="cam-1", deadline_s=10.0, stored=lambda: None,
    )  # fmt: skip
    inspector = Inspector(
        pictures, Outputs(), report,
        SamplePolicy(SamplesConfig(), spool.id), Meter(clock.monotonic()), clock,
        deadline_s=10.0, shadow_queue=8, tell=lambda *_: None,
    )  # fmt: skip
    thread = threading.Thread(target=inspector.run, args=(loaded,))
    start = time.perf_counter()
    thread.start()
    pictures.empty.wait()
    elapsed = time.perf_counter() - start
    inspector.stop()
    thread.join()
    return frames / elapsed


def main(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's archive; default: one trained for this.")
    ] = None,
    frames: Annotated[int, typer.Option(min=10, help="Frames of each run.")] = 600,
    runtime: Runtime = Runtime.ONNX,
    precision: Precision = Precision.INT8,
) -> None:
    """Measure, and print one line for each."""
    board = Board.model_construct(
        hardware="bench", runtime=runtime, precision=precision, threads=1, memory_limit=10**9
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = archive.unpack(small_bundle(bundle), folder / "bundle")
        loaded = load_bundle(folder / "bundle", "0" * 64, board)
        images = [(folder / "bundle" / sample.file).read_bytes() for sample in manifest.golden]
        channels = manifest.input.channels
        alone = bare(loaded, images, channels, frames)
        whole = inspected(loaded, Pictures(images, channels, frames), frames, folder)
    typer.echo(f"bare loop   {alone:8.1f} frames/s")
    typer.echo(f"inspection  {whole:8.1f} frames/s  ({whole / alone:.0%} of the bare loop)")


if __name__ == "__main__":
    run(main)
