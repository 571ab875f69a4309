"""How well pictures of one part are found by likeness: pairs and proposed parts, against a list of parts.

    python benchmarks/near_duplicates.py [MANIFEST.csv] [--part tile] [--json]

Without a manifest, 120 rendered parts are each lit in three ways, and compared with themselves.
"""

import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.support.program import run
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import decode_image
from hil.story.world import program
from trainer.data.duplicates import THRESHOLD, embed, near_pairs, propose_groups
from trainer.data.scan import thumbnail

_PARTS = 120
_GAINS = (0.6, 1.0, 1.2)
_NOISE = 3.0
"""Standard deviation in grey levels of 255."""

Picture = NDArray[np.uint8]
Matrix = NDArray[np.bool_]


def pictures(manifest: Path, column: str) -> Iterator[tuple[str, Picture]]:
    """(part, grey picture) of every row. Raises DataError where the file or a column is not there."""
    if not manifest.is_file():
        raise DataError(f"{manifest} is not there", expected="a CSV file with a column image")
    with manifest.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            if not {"image", column} <= row.keys():
                raise DataError(f"{manifest} lacks a column", expected=f"image, {column}",
                                found=", ".join(row), remedy="Name it with --part.")  # fmt: skip
            data = (manifest.parent / row["image"]).read_bytes()
            yield row[column], np.asarray(decode_image(data, 1), np.uint8)


def relit(shots: Iterator[tuple[str, Picture]]) -> Iterator[tuple[str, Picture]]:
    """Every picture under three lights, each with noise of its own."""
    rng = np.random.default_rng(0)
    for part, shot in shots:
        for gain in _GAINS:
            lit = shot * gain + 6 + rng.normal(0, _NOISE, shot.shape)
            yield part, np.asarray(lit.clip(0, 255), np.uint8)


def rendered(folder: Path) -> list[tuple[str, Picture]]:
    """Parts as the rigs' renderer shows them, each in three lights."""
    command = [program("loupe-hil"), "dataset", str(folder), "--parts", str(_PARTS), "--seed", "7"]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        sys.exit("loupe-hil dataset failed")
    return list(relit(pictures(folder / "manifest.csv", "group")))


def measured(shots: list[tuple[str, Picture]]) -> dict[str, float]:
    """Precision and recall of pairs above the threshold, and of pairs inside of proposed parts."""
    start = time.perf_counter()
    embedded = embed([thumbnail(shot) for _, shot in shots])
    found = np.zeros((len(shots), len(shots)), np.bool_)
    for pair in near_pairs(embedded):
        found[pair.first, pair.second] = True
    seconds = time.perf_counter() - start
    same = _together([part for part, _ in shots])
    proposed = propose_groups(shot for _, shot in shots)
    pairs, groups = _rates(found, same), _rates(_together(proposed), same)
    return {
        "images": len(shots), "parts": len({part for part, _ in shots}), "threshold": THRESHOLD,
        "pair_precision": pairs[0], "pair_recall": pairs[1],
        "proposed": len(set(proposed)),
        "group_precision": groups[0], "group_recall": groups[1], "seconds": round(seconds, 2),
    }  # fmt: skip


def _together(names: list[str]) -> Matrix:
    """[n, n] above the diagonal: whether two have one name."""
    array = np.array(names)
    return np.asarray(np.triu(array[:, None] == array[None], 1), np.bool_)


def _rates(found: Matrix, same: Matrix) -> tuple[float, float]:
    hits = int((found & same).sum())
    return (round(hits / max(int(found.sum()), 1), 3), round(hits / max(int(same.sum()), 1), 3))


def main(
    manifest: Annotated[Path | None, typer.Argument(help="CSV with a column image.")] = None,
    part: Annotated[str, typer.Option(help="Its column of the physical part.")] = "group",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure, and print one line for pairs and one for proposed parts."""
    if manifest is not None:
        result = measured(list(pictures(manifest, part)))
    else:
        with tempfile.TemporaryDirectory() as name:
            result = measured(rendered(Path(name) / "parts"))
    if as_json:
        typer.echo(json.dumps(result))
        return
    typer.echo(f"{result['images']} images of {result['parts']} parts, {result['seconds']} s")
    for kind, count in (("pair", "pairs"), ("group", f"{result['proposed']} proposed parts")):
        typer.echo(f"{count}: precision {result[f'{kind}_precision']:.3f}, "
                   f"recall {result[f'{kind}_recall']:.3f}")  # fmt: skip


if __name__ == "__main__":
    run(main)
