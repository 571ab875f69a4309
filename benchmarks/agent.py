"""What the agent costs beside its model: throughput over a bare loop, and the time to a verdict.

    python -m benchmarks.agent [BUNDLE.tar] [--frames 600] [--parts 1800] [--json]

Throughput: both decode the same PNGs and run the same model on one core; the agent also decides,
acts, measures windows (5 Hz), and stores verdicts and windows durably (SQLite, synchronous=FULL).
Time to a verdict: parts come 30 times a second, a candidate judges them too, and the model alone is
timed at the same pace.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.support.bundle import small_bundle
from benchmarks.support.inspection import Heard, Paced, Pictures, inspecting
from benchmarks.support.program import run
from edge_agent.loaded import Loaded, load_bundle
from fleet_contract import archive
from fleet_contract.board import Board
from fleet_contract.inference.preprocess import Frame, decode_image
from fleet_contract.names import Precision, Runtime

_RATE_HZ = 30.0
_ALONE = 300


def bare(loaded: Loaded, images: list[bytes], channels: int, frames: int) -> float:
    """Frames a second of decoding and judging alone."""
    start = time.perf_counter()
    for number in range(frames):
        loaded.model.judge(decode_image(images[number % len(images)], channels))
    return frames / (time.perf_counter() - start)


def inspected(loaded: Loaded, pictures: Pictures, frames: int, folder: Path) -> float:
    """Frames a second of the whole inspection."""
    start = time.perf_counter()
    with inspecting(pictures, loaded, folder):
        pictures.empty.wait()
        return frames / (time.perf_counter() - start)


def alone_ms(loaded: Loaded, frames: list[Frame]) -> float:
    """Median time of the model, at the line's pace."""
    paced, times = Paced(frames, _ALONE, _RATE_HZ), []
    paced.start(None)
    while (captured := paced.next(0.0)) is not None:
        assert captured.frame is not None
        start = time.perf_counter()
        loaded.model.judge(captured.frame)
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


def verdict_ms(
    loaded: Loaded, candidate: Loaded, frames: list[Frame], parts: int, folder: Path
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """[parts] milliseconds from a frame's arrival to its verdict, a candidate beside."""
    heard, paced = Heard(), Paced(frames, parts, _RATE_HZ)
    with inspecting(paced, loaded, folder, heard) as inspector:
        inspector.shadow(candidate)
        paced.empty.wait()
    return np.array([verdict.latency_ms for _, verdict in heard.verdicts])


def main(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's archive; default: one trained for this.")
    ] = None,
    frames: Annotated[int, typer.Option(min=10, help="Frames of each run.")] = 600,
    parts: Annotated[int, typer.Option(min=100, help="Parts of the paced run.")] = 1800,
    runtime: Runtime = Runtime.ONNX,
    precision: Precision = Precision.INT8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Measure, and print one line for each."""
    board = Board.model_construct(
        hardware="bench", runtime=runtime, precision=precision, threads=1, memory_limit=10**9
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = archive.unpack(small_bundle(bundle), folder / "bundle")
        loaded, candidate = (
            load_bundle(folder / "bundle", digit * 64, board) for digit in ("0", "1")
        )
        images = [(folder / "bundle" / sample.file).read_bytes() for sample in manifest.golden]
        channels = manifest.input.channels
        alone = bare(loaded, images, channels, frames)
        whole = inspected(loaded, Pictures(images, channels, frames), frames, folder / "a")
        decoded = [decode_image(image, channels) for image in images]
        model_ms = alone_ms(loaded, decoded)
        times = verdict_ms(loaded, candidate, decoded, parts, folder / "b")
    p50, p99, p999 = (float(np.quantile(times, q)) for q in (0.5, 0.99, 0.999))
    if as_json:
        typer.echo(json.dumps({
            "ratio": whole / alone, "bare_frames_s": alone, "frames_s": whole,
            "model_p50_ms": model_ms, "p50_ms": p50, "p99_ms": p99, "p999_ms": p999,
            "p999_over_p50": p999 / model_ms,
        }))  # fmt: skip
        return
    typer.echo(f"bare loop   {alone:8.1f} frames/s")
    typer.echo(f"inspection  {whole:8.1f} frames/s  ({whole / alone:.0%} of the bare loop)")
    typer.echo(f"model       {model_ms:8.2f} ms in the median, at {_RATE_HZ:g} parts/s")
    typer.echo(f"verdict     {p50:8.2f} ms, p99 {p99:.2f}, p99.9 {p999:.2f}, a candidate beside "
               f"(limit 1.5 p50 + 2 ms: {1.5 * model_ms + 2:.2f})")  # fmt: skip


if __name__ == "__main__":
    run(main)
