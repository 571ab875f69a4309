"""What the printed defaults reach on lines that nobody has tuned them for.

    python benchmarks/lines.py [--only NAME]... [--time-budget 2min] [--json]

Six drawn lines: defects of a few pixels; boxes instead of masks; defects that differ in colour alone;
fifty good images for a defective one; twenty defective images in all; a surface that lies otherwise in
every image. A bundle is trained on each as a new user would, and judges 150 good and 75 defective
images drawn afterwards, which no data set has seen.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.support.commands import trainer
from benchmarks.support.lines import LINES, DrawnLine, draw
from benchmarks.support.program import run
from trainer.template import template

_GOOD, _DEFECTIVE = 150, 75
_SHOWN = ("image_auroc", "pixel_ap", "overkill", "escape", "baseline_auroc", "minutes")


def measure(line: DrawnLine, folder: Path, budget: str) -> dict[str, Any]:
    """Figures of one line, on images that its data set does not hold."""
    source = draw(line, folder / "known", good=line.good, defective=line.defective, seed=1)
    fresh = draw(line, folder / "fresh", good=_GOOD, defective=_DEFECTIVE, seed=2)
    name = line.name.replace(" ", "-")
    start = time.monotonic()
    group = ["--group", "none"] if line.boxes else []
    dataset = trainer(folder, "import", str(source), "--line", name, *group)["digest"]
    (folder / "line.toml").write_text(template(name))
    made = trainer(folder, "train", "line.toml", "--dataset", dataset, "--out", "bundle.tar",
                   "--time-budget", budget)  # fmt: skip
    minutes = (time.monotonic() - start) / 60
    found = trainer(folder, "evaluate", "bundle.tar", "--csv", str(fresh.with_name("manifest.csv")),
                    "--root", str(fresh.parent), "--runtime", "onnx", "--precision", "int8")  # fmt: skip
    return {
        "image_auroc": found["image_auroc"], "pixel_ap": found["pixel_ap"],
        "overkill": found["overkill"]["rate"], "escape": found["escape"]["rate"],
        "baseline_auroc": made["evaluation"]["baseline"]["image_auroc"], "minutes": minutes,
    }  # fmt: skip


def main(
    only: Annotated[list[str] | None, typer.Option(help="Name of a line.")] = None,
    time_budget: Annotated[str, typer.Option(help="Of one training.")] = "2min",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure, and print a line each."""
    names = [line.name for line in LINES]
    if unknown := [name for name in only or [] if name not in names]:
        sys.exit(f"no line {', '.join(unknown)}; lines are: {', '.join(names)}")
    console, found = Console(stderr=True), {}
    for line in LINES:
        if only and line.name not in only:
            continue
        with tempfile.TemporaryDirectory(prefix="loupe-lines-") as name:
            found[line.name] = measure(line, Path(name), time_budget)
        console.print(f"{line.name:15} " + _line(found[line.name]))
    if as_json:
        typer.echo(json.dumps(found))


def _line(figures: dict[str, float]) -> str:
    return ", ".join(f"{key} {figures[key]:.3f}" for key in _SHOWN)


if __name__ == "__main__":
    run(main)
