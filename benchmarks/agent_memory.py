"""Memory of an inspection that runs long: an hour's parts at 30 a second, driven as fast as possible.

    python -m benchmarks.agent_memory [BUNDLE.tar] [--parts 108000] [--json]

The inspection as the agent runs it (decode, judge, decide, measure windows, choose and encode images,
store durably); the server's word is stood in for, so that the spool holds what a quick link leaves. Resident
memory is looked at after each tenth. Slope: of a line through the looks from the second tenth on.
"""

import gc
import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer

from benchmarks.support.bundle import small_bundle
from benchmarks.support.inspection import Pictures, inspecting
from benchmarks.support.program import run
from edge_agent.db import Database
from edge_agent.health import stamp
from edge_agent.loaded import load_bundle
from edge_agent.spool import Spool
from fleet_contract import archive
from fleet_contract.board import Board
from fleet_contract.messages import Stream
from fleet_contract.names import Precision, Runtime

_TENTHS = 10
_LOOK_S = 1.0


def acknowledge(folder: Path) -> None:
    """What a server that stores everything does to the spool."""
    db = Database(folder / "agent.db")
    spool = Spool(db, 256_000_000, stamp)
    for stream in Stream:
        spool.ack(stream, spool.last(stream))
    db.close()


def watch(pictures: Pictures, parts: int, folder: Path) -> list[float]:
    """Resident megabytes of this process after each tenth of the parts."""
    looks: list[float] = []
    process = psutil.Process()
    while len(looks) < _TENTHS:
        time.sleep(_LOOK_S)
        acknowledge(folder)
        if pictures.given >= parts * (len(looks) + 1) / _TENTHS or pictures.empty.is_set():
            looks.append(process.memory_info().rss / 1e6)
    return looks


def main(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's archive; default: one trained for this.")
    ] = None,
    parts: Annotated[int, typer.Option(min=100, help="Parts; the default is an hour's.")] = 108_000,
    precision: Precision = Precision.INT8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Measure, and print the looks and the slope."""
    board = Board.model_construct(
        hardware="bench", runtime=Runtime.ONNX, precision=precision, threads=1,
        memory_limit=10**9,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = archive.unpack(small_bundle(bundle), folder / "bundle")
        loaded = load_bundle(folder / "bundle", "0" * 64, board)
        images = [(folder / "bundle" / sample.file).read_bytes() for sample in manifest.golden]
        pictures = Pictures(images, manifest.input.channels, parts)
        gc.collect()
        began = time.monotonic()
        with inspecting(pictures, loaded, folder):
            looks = watch(pictures, parts, folder)
        seconds = time.monotonic() - began
    slope = float(np.polyfit(np.linspace(0.2, 1.0, _TENTHS - 1), looks[1:], 1)[0])
    found = {"parts": parts, "seconds": seconds, "rss_mb": looks, "slope_mb": slope,
             "ratio": looks[-1] / looks[0]}  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"{parts} parts in {seconds:.0f} s; resident after each tenth, MB: "
               f"{' '.join(f'{look:.1f}' for look in looks)}")  # fmt: skip
    typer.echo(
        f"slope       {slope:8.2f} MB over all parts; last over first {looks[-1] / looks[0]:.3f}"
    )


if __name__ == "__main__":
    run(main)
