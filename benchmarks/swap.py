"""What a swap of the active model costs the line: parts lost, and the longest gap between verdicts.

    python -m benchmarks.swap [BUNDLE.tar] [--swaps 100] [--json]

Parts come 30 times a second. A bundle is loaded beside the active one, as an update does, and takes
its place between two parts; what the old one judged is stored first.
"""

import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.support.bundle import small_bundle
from benchmarks.support.inspection import Heard, Paced, inspecting
from benchmarks.support.program import run
from edge_agent.loaded import load_bundle
from fleet_contract import archive
from fleet_contract.board import Board
from fleet_contract.inference.preprocess import decode_image
from fleet_contract.names import Precision, Runtime, Verdict

_RATE_HZ = 30.0
_BETWEEN_S = 0.25
_AHEAD = 10_000_000


def main(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's archive; default: one trained for this.")
    ] = None,
    swaps: Annotated[int, typer.Option(min=1)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Measure, and print one line."""
    board = Board.model_construct(
        hardware="bench", runtime=Runtime.ONNX, precision=Precision.INT8, threads=1,
        memory_limit=10**9,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder, heard = Path(name), Heard()
        manifest = archive.unpack(small_bundle(bundle), folder / "bundle")
        frames = [
            decode_image((folder / "bundle" / sample.file).read_bytes(), manifest.input.channels)
            for sample in manifest.golden
        ]
        spans: list[tuple[float, float]] = []
        first = load_bundle(folder / "bundle", "0" * 64, board)
        with inspecting(Paced(frames, _AHEAD, _RATE_HZ), first, folder, heard) as inspector:
            for number in range(1, swaps + 1):
                time.sleep(_BETWEEN_S)
                start_s = time.monotonic()
                inspector.activate(load_bundle(folder / "bundle", f"{number:064x}", board), None)
                spans.append((start_s, time.monotonic()))
            time.sleep(_BETWEEN_S)
    numbers = [verdict.number for _, verdict in heard.verdicts]
    lost = numbers[-1] - len(set(numbers)) + sum(
        verdict.verdict is Verdict.NO_DECISION for _, verdict in heard.verdicts
    )  # fmt: skip
    times_s = np.array([at_s for at_s, _ in heard.verdicts])
    gaps = np.diff(times_s) * _RATE_HZ
    # A gap is of a swap where loading or exchanging a bundle fell into it.
    of_swaps = np.array([any(a < end and start < b for start, end in spans)
                         for a, b in pairwise(times_s)])  # fmt: skip
    judged_by = len({verdict.digest for _, verdict in heard.verdicts})
    found = {"swaps": swaps, "bundles": judged_by, "parts": len(numbers), "lost": lost,
             "gap_intervals": float(gaps[of_swaps].max()),
             "gap_intervals_between": float(gaps[~of_swaps].max())}  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"{swaps} swaps in {len(numbers)} parts, {judged_by} bundles judged: {lost} lost, "
               f"longest gap {gaps[of_swaps].max():.2f} part intervals at a swap, "
               f"{gaps[~of_swaps].max():.2f} between swaps")  # fmt: skip


if __name__ == "__main__":
    run(main)
