"""What the windows' statistics cost a sampled frame, over 1.5 ms, and beside whylogs.

    python -m benchmarks.frame_statistics [--runs 300] [--whylogs build/peers/whylogs/bin/python] [--json]

Processor time, so that other work on the machine counts less. A frame of 1920x1080 in colour: its
features (shift to the first frame included), its thumbnail, and
their counting in the window. OpenCV works on one thread, as in an agent of one. whylogs logs the same
size of picture by its image metrics, in an environment of its own:

    python -m venv build/peers/whylogs
    build/peers/whylogs/bin/pip install "whylogs[image]" "numpy<2"
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from benchmarks.support.program import run
from fleet_contract.errors import DataError
from fleet_contract.inference.accumulate import WindowAccumulator
from fleet_contract.inference.features import frame_statistics

LIMIT_MS = 1.5
_HEIGHT, _WIDTH = 1080, 1920
_PEER_RUNS = 10
_PEER = Path(__file__).parent / "support" / "peer_whylogs.py"


def ours_ms(runs: int) -> list[float]:
    """Milliseconds of each of `runs` frames."""
    cv2.setNumThreads(1)
    noise = np.random.default_rng(1).integers(60, 180, (_HEIGHT, _WIDTH, 3), np.uint8)
    frames = [noise, np.roll(noise, 3, axis=1)]
    window = WindowAccumulator("bench", "cam-1", None, 0.0)
    reference = frame_statistics(frames[0], None).grey
    times = []
    for number in range(runs):
        # A new one each time, as a source gives it: memory that comes and goes is faster to get.
        frame = frames[number % 2].copy()
        start = time.process_time()
        window.frame(frame_statistics(frame, reference))
        times.append((time.process_time() - start) * 1e3)
    return times


def whylogs_ms(python: Path) -> tuple[str, float]:
    """Its version, and the median milliseconds of a picture. Raises DataError where it does not run."""
    command = [str(python), str(_PEER), str(_HEIGHT), str(_WIDTH), str(_PEER_RUNS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"whylogs does not run: {done.stderr.splitlines()[-1:]}")
    version, milliseconds = done.stdout.split()
    return version, float(milliseconds)


def main(
    runs: Annotated[int, typer.Option(min=10, help="Frames to measure.")] = 300,
    whylogs: Annotated[Path | None, typer.Option(help="A Python that has whylogs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Measure, and print one line for each."""
    times = ours_ms(runs)
    found: dict[str, float | str] = {
        "p50_ms": float(np.median(times)), "p99_ms": float(np.quantile(times, 0.99)),
        "ratio": float(np.median(times)) / LIMIT_MS,
    }  # fmt: skip
    if whylogs is not None:
        found["whylogs"], found["whylogs_ms"] = whylogs_ms(whylogs)
        found["over_whylogs"] = float(np.median(times)) / float(found["whylogs_ms"])
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"statistics  {found['p50_ms']:8.2f} ms a frame, p99 {found['p99_ms']:.2f} "
               f"({found['ratio']:.0%} of {LIMIT_MS} ms)")  # fmt: skip
    if whylogs is not None:
        typer.echo(f"whylogs     {found['whylogs_ms']:8.2f} ms a picture ({found['whylogs']}): "
                   f"ours takes {found['over_whylogs']:.2%} of it")  # fmt: skip


if __name__ == "__main__":
    run(main)
