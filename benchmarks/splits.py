"""What the trainer reaches on parts that it has not seen, over repeated splits by part.

    python benchmarks/splits.py [MANIFEST.csv --group tile --seen exposure=4,5,6 --unseen exposure=1]
        [--splits N] [--time-budget 6min] [--json]

Every split is a data set of its own: the images that `--seen` names, three tenths of the parts kept
out. A bundle is trained on it as a new user would, with the printed defaults. It is measured on the
parts that were kept out, under the lights it has seen and under those it has not. Without a
manifest 120 rendered parts are the images.
"""

import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.support.commands import trainer
from benchmarks.support.program import run
from fleet_contract.dataset import DatasetVersion, parse_version
from hil.story.world import program
from trainer.template import template

_LINE = "bench"
_PARTS = 120
_SHOWN = ("image_auroc", "unseen_auroc", "pixel_ap", "int8_change", "flips", "onnx_speedup",
          "litert_speedup", "overkill", "escape", "minutes")  # fmt: skip


def rendered(folder: Path) -> Path:
    """The manifest of parts as the rigs' renderer shows them."""
    command = [program("loupe-hil"), "dataset", str(folder), "--parts", str(_PARTS), "--seed", "7"]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        sys.exit("loupe-hil dataset failed")
    return folder / "manifest.csv"


def one_split(
    folder: Path, manifest: Path, group: str, seen: str, unseen: str, budget: str, seed: int
) -> dict[str, float]:
    """Imports, trains and measures; the figures of `_SHOWN`."""
    chosen = ["--where", seen] if seen else []
    dataset = str(trainer(folder, "import", str(manifest), "--format", "csv", "--line", _LINE,
                          "--group", group, "--seed", str(seed), *chosen)["digest"])  # fmt: skip
    (folder / "line.toml").write_text(template(_LINE))
    start = time.monotonic()
    made = trainer(folder, "train", "line.toml", "--dataset", dataset, "--out", "bundle.tar",
                   "--time-budget", budget)  # fmt: skip
    figures = {**_figures(made["evaluation"]), "minutes": (time.monotonic() - start) / 60}
    if not unseen:
        return figures
    version = parse_version(
        (folder / ".loupe/store/versions" / f"{dataset}.json").read_text(encoding="utf-8")
    )
    _write_unseen(folder / "unseen.csv", manifest, version, group, unseen)
    other = trainer(folder, "evaluate", "bundle.tar", "--csv", "unseen.csv", "--root",
                    str(manifest.parent), "--runtime", "onnx", "--precision", "int8")  # fmt: skip
    return {**figures, "unseen_auroc": other["image_auroc"]}


def _write_unseen(
    out: Path, manifest: Path, version: DatasetVersion, group: str, unseen: str
) -> None:
    """Rows of parts that were kept out, under lights that were not trained on."""
    held = {item.group for item in version.side("holdout")}
    column, _, values = unseen.partition("=")
    with manifest.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.DictReader(file)
                if row[group] in held and row[column] in values.split(",")]  # fmt: skip
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _figures(evaluation: dict[str, Any]) -> dict[str, float]:
    models = evaluation["models"]
    aurocs = {key: one["image_auroc"] for key, one in models.items()}
    speed = {
        runtime: models[f"{runtime}/fp32"]["latency_ms"]["p50"]
        / models[f"{runtime}/int8"]["latency_ms"]["p50"]
        for runtime in ("onnx", "litert")
    }
    return {
        "image_auroc": evaluation["image_auroc"],
        "pixel_ap": evaluation["pixel_ap"],
        "int8_change": max(abs(aurocs[f"{r}/int8"] - aurocs[f"{r}/fp32"]) for r in speed),
        "flips": max(one["rate"] for one in evaluation["flips"].values()),
        "onnx_speedup": speed["onnx"],
        "litert_speedup": speed["litert"],
        "overkill": evaluation["overkill"]["rate"],
        "escape": evaluation["escape"]["rate"],
    }


def main(
    manifest: Annotated[
        Path | None, typer.Argument(help="CSV: image, mask, label or defect, part.")
    ] = None,
    group: Annotated[str, typer.Option(help="Column of the physical part.")] = "group",
    seen: Annotated[str, typer.Option(help="COLUMN=V,V: what is trained on.")] = "",
    unseen: Annotated[str, typer.Option(help="COLUMN=V: what is measured on as well.")] = "",
    splits: Annotated[int, typer.Option(help="How many.")] = 3,
    time_budget: Annotated[str, typer.Option(help="Of one training.")] = "6min",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure, and print a line a split and one with the mean of all."""
    console, found = Console(stderr=True), []
    for seed in range(splits):
        with tempfile.TemporaryDirectory(prefix="loupe-splits-") as name:
            images = manifest.resolve() if manifest else rendered(Path(name) / "parts")
            one = one_split(Path(name), images, group, seen, unseen, time_budget, seed)
        found.append(one)
        console.print(f"split {seed}: " + _line(one))
    mean = {key: statistics.fmean(one[key] for one in found) for key in _SHOWN if key in found[0]}
    typer.echo(json.dumps({"splits": found, "mean": mean}) if as_json else "mean: " + _line(mean))


def _line(figures: dict[str, float]) -> str:
    return ", ".join(f"{key} {figures[key]:.3f}" for key in _SHOWN if key in figures)


if __name__ == "__main__":
    run(main)
