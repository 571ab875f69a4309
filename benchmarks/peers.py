"""Judging beside loops that others would write: the same model, images and one thread, in turns.

    python -m benchmarks.peers [BUNDLE.tar] [--frames 300] [--rounds 3]
        [--openvino build/peers/openvino/bin/python] [--json]

Ours decodes, checks the frame's schema, preprocesses, runs and decides. The plain loop decodes, resizes
and runs by OpenCV and ONNX Runtime, and decides nothing; with `--openvino`, a loop runs the same ONNX file
by OpenVINO, as anomalib's inferencer does, in an environment of its own:

    python -m venv build/peers/openvino
    build/peers/openvino/bin/pip install openvino opencv-python-headless

Rounds alternate, so that other work on the machine meets all alike; figures are over all rounds.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from benchmarks.support.bundle import small_bundle
from benchmarks.support.program import run
from edge_agent.loaded import Loaded, load_bundle
from fleet_contract import archive
from fleet_contract.board import Board
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import decode_image
from fleet_contract.manifest import Manifest
from fleet_contract.names import Precision, Runtime

_LOOP = Path(__file__).parent / "support" / "peer_loop.py"
Timed = Callable[[], tuple[str, list[float]]]
"""Version, and seconds of each frame."""


def ours(loaded: Loaded, images: list[bytes], channels: int, frames: int) -> list[float]:
    """Seconds of each frame, decoding included."""
    cv2.setNumThreads(1)
    times = []
    for number in range(frames):
        start = time.perf_counter()
        loaded.model.judge(decode_image(images[number % len(images)], channels))
        times.append(time.perf_counter() - start)
    return times


def loop(python: Path, runtime: str, folder: Path, manifest: Manifest, frames: int) -> tuple[str, list[float]]:  # fmt: skip
    """A plain loop in an environment of its own. Raises DataError where it does not run."""
    [file] = manifest.models_for(Runtime.ONNX, Precision.INT8)
    height, width = manifest.preprocess.canvas
    words = [runtime, folder / file.file, folder / "golden", frames, height, width, file.dtype,
             file.layout, manifest.preprocess.channel_order]  # fmt: skip
    command = [str(python), str(_LOOP), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"{runtime} does not run: {done.stderr.splitlines()[-1:]}")
    told = json.loads(done.stdout)
    return told["version"], told["times_s"]


def rounds(timed: dict[str, Timed], count: int) -> dict[str, tuple[str, list[float]]]:
    """Each in turn, `count` times."""
    found: dict[str, tuple[str, list[float]]] = {name: ("", []) for name in timed}
    for _ in range(count):
        for name, measure in timed.items():
            version, times = measure()
            found[name] = version, found[name][1] + times
    return found


def main(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's archive; default: one trained for this.")
    ] = None,
    frames: Annotated[int, typer.Option(min=10, help="Frames a round.")] = 300,
    times: Annotated[int, typer.Option("--rounds", min=1)] = 3,
    openvino: Annotated[Path | None, typer.Option(help="A Python that has OpenVINO.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Measure, and print one line for each."""
    board = Board.model_construct(
        hardware="bench", runtime=Runtime.ONNX, precision=Precision.INT8, threads=1,
        memory_limit=10**9,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = archive.unpack(small_bundle(bundle), folder)
        loaded = load_bundle(folder, "0" * 64, board)
        images = [(folder / sample.file).read_bytes() for sample in manifest.golden]
        channels, own = manifest.input.channels, metadata.version("onnxruntime")
        timed: dict[str, Timed] = {
            "ours": lambda: (own, ours(loaded, images, channels, frames)),
            "onnxruntime": lambda: loop(Path(sys.executable), "onnxruntime", folder, manifest, frames),
        }  # fmt: skip
        if openvino is not None:
            timed["openvino"] = lambda: loop(openvino, "openvino", folder, manifest, frames)
        found = rounds(timed, times)
    told = {one: _figures(version, np.array(all_s)) for one, (version, all_s) in found.items()}
    if as_json:
        typer.echo(json.dumps(told))
        return
    for one, figures in told.items():
        typer.echo(f"{one:12} {figures['version']:10} {figures['frames_s']:8.1f} frames/s, "
                   f"p50 {figures['p50_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms")  # fmt: skip


def _figures(
    version: str, seconds: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> dict[str, float | str]:
    return {
        "version": version,
        "frames_s": float(1 / seconds.mean()),
        "p50_ms": float(np.median(seconds)) * 1e3,
        "p99_ms": float(np.quantile(seconds, 0.99)) * 1e3,
    }


if __name__ == "__main__":
    run(main)
