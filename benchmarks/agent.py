"""What the agent costs beside its model: throughput over a bare loop, and the time to a verdict.

    python -m benchmarks.agent [BUNDLE.tar]... [--frames 600] [--parts 1800] [--json]

Throughput: both decode the same PNGs and run the same model on one core; the agent also decides,
acts, measures windows (5 Hz), and stores verdicts and windows durably (SQLite, synchronous=FULL).
Pictures of 256 and of 1024 pixels a side, a network that looks at 256 x 256, both runtimes.
Time to a verdict: parts come 30 times a second and a candidate judges them too. The same pictures go
to the model alone at the same pace, before and after: its median is what the agent is held against,
its tail is the machine's own.
"""

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.support.bundle import small_bundle
from benchmarks.support.inspection import Heard, Paced, Pictures, inspecting
from benchmarks.support.program import run
from edge_agent.loaded import Loaded, load_bundle
from fleet_contract import archive
from fleet_contract.board import Board
from fleet_contract.inference.preprocess import Frame, decode_image
from fleet_contract.names import Precision, Runtime

_RATE_HZ = 30.0
_PICTURES, _VIEW = (256, 1024), 256
_ROUNDS = 3
Times = NDArray[np.float64]
"""[parts] milliseconds."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Frames a second of one bundle and runtime, the best of some rounds taken in turn."""

    pixels: int
    runtime: Runtime
    bare: float
    inspected: float

    @property
    def ratio(self) -> float:
        """Of the inspection to the bare loop."""
        return self.inspected / self.bare


@dataclass(frozen=True, slots=True)
class Tail:
    """Milliseconds at 30 parts a second: the model's own, from arrival to the model's word without
    an agent, and from arrival to verdict with one."""

    model_p50_ms: float
    alone_p999_ms: float
    p50_ms: float
    p99_ms: float
    p999_ms: float


class Bench:
    """A bundle, ready to be judged by."""

    def __init__(self, data: bytes, folder: Path) -> None:
        self._folder = folder
        self.manifest = archive.unpack(data, folder)
        self.images = [(folder / sample.file).read_bytes() for sample in self.manifest.golden]
        self.channels = self.manifest.input.channels

    @property
    def frames(self) -> list[Frame]:
        """The pictures, decoded."""
        return [decode_image(image, self.channels) for image in self.images]

    def loaded(self, runtime: Runtime, digit: str) -> Loaded:
        """The int8 model on one thread."""
        board = Board.model_construct(
            hardware="bench", runtime=runtime, precision=Precision.INT8, threads=1,
            memory_limit=10**9,
        )  # fmt: skip
        return load_bundle(self._folder, digit * 64, board)


def bare(loaded: Loaded, bench: Bench, frames: int) -> float:
    """Frames a second of decoding and judging alone."""
    start = time.perf_counter()
    for number in range(frames):
        image = bench.images[number % len(bench.images)]
        loaded.model.judge(decode_image(image, bench.channels))
    return frames / (time.perf_counter() - start)


def inspected(loaded: Loaded, bench: Bench, frames: int) -> float:
    """Frames a second of the whole inspection."""
    pictures = Pictures(bench.images, bench.channels, frames)
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        with inspecting(pictures, loaded, Path(name)):
            pictures.empty.wait()
            return frames / (time.perf_counter() - start)


def rate(bench: Bench, runtime: Runtime, frames: int) -> Rate:
    """Both in turn, so that a slow spell of the machine falls on both."""
    loaded = bench.loaded(runtime, "0")
    alone, whole = [], []
    for _ in range(_ROUNDS):
        alone.append(bare(loaded, bench, frames))
        whole.append(inspected(loaded, bench, frames))
    pixels = max(bench.frames[0].shape[:2])
    return Rate(pixels, runtime, max(alone), max(whole))


def alone(loaded: Loaded, frames: list[Frame], parts: int) -> tuple[Times, Times]:
    """The model's time, and the time from arrival to its word, at the line's pace."""
    paced, own, since = Paced(frames, parts, _RATE_HZ), [], []
    paced.start(None)
    while (captured := paced.next(0.0)) is not None:
        assert captured.frame is not None
        start = time.monotonic()
        loaded.model.judge(captured.frame)
        end = time.monotonic()
        own.append((end - start) * 1e3)
        since.append((end - captured.arrival_s) * 1e3)
    return np.array(own), np.array(since)


def tail(bench: Bench, parts: int) -> Tail:
    """With a candidate in shadow."""
    loaded, candidate = (bench.loaded(Runtime.ONNX, digit) for digit in "01")
    before = alone(loaded, bench.frames, parts // 2)
    heard, paced = Heard(), Paced(bench.frames, parts, _RATE_HZ)
    with (
        tempfile.TemporaryDirectory() as name,
        inspecting(paced, loaded, Path(name), heard) as inspector,
    ):
        inspector.shadow(candidate)
        paced.empty.wait()
    after = alone(loaded, bench.frames, parts - parts // 2)
    own, since = (np.concatenate(both) for both in zip(before, after, strict=True))
    times = [verdict.latency_ms for _, verdict in heard.verdicts]
    p50, p99, p999 = (float(np.quantile(times, q)) for q in (0.5, 0.99, 0.999))
    return Tail(float(np.median(own)), float(np.quantile(since, 0.999)), p50, p99, p999)


def main(
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Bundles' archives; default: two trained for this.")
    ] = None,
    frames: Annotated[int, typer.Option(min=10, help="Frames of each round.")] = 600,
    parts: Annotated[int, typer.Option(min=100, help="Parts of the paced run.")] = 1800,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Measure, and print one line for each."""
    archives = (
        [path.read_bytes() for path in bundles]
        if bundles
        else [small_bundle(picture=pixels, view=_VIEW) for pixels in _PICTURES]
    )
    with tempfile.TemporaryDirectory() as name:
        benches = [Bench(data, Path(name) / str(number)) for number, data in enumerate(archives)]
        rates = [rate(bench, runtime, frames) for bench in benches for runtime in Runtime]
        found = tail(benches[0], parts)
    limit_ms = 1.5 * found.model_p50_ms + 2
    if as_json:
        typer.echo(json.dumps({
            "ratio": min(one.ratio for one in rates),
            "rates": [{**asdict(one), "ratio": one.ratio} for one in rates],
            **asdict(found), "p999_over_p50": found.p999_ms / found.model_p50_ms,
            "limit_ms": limit_ms,
        }))  # fmt: skip
        return
    for one in rates:
        typer.echo(f"{one.pixels:5} px {one.runtime:6}  bare {one.bare:7.1f} frames/s, inspection "
                   f"{one.inspected:7.1f} ({one.ratio:.1%})")  # fmt: skip
    typer.echo(f"verdict  {found.p50_ms:.2f} ms, p99 {found.p99_ms:.2f}, p99.9 {found.p999_ms:.2f}, a "
               f"candidate beside; the model {found.model_p50_ms:.2f}, without an agent p99.9 "
               f"{found.alone_p999_ms:.2f} (limit {limit_ms:.2f})")  # fmt: skip


if __name__ == "__main__":
    run(main)
