"""The command that trains a bundle again."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleet_contract.clock import SystemClock
from trainer.commands.data import DEFAULT_STORE, JsonOption, StoreOption
from trainer.commands.model import read_file, stopping
from trainer.commands.show import watched
from trainer.data.store import Store
from trainer.runs.folder import Runs

if TYPE_CHECKING:
    from trainer.reproduce import Reproduction


def reproduce(
    bundle: Annotated[Path, typer.Argument(help="The bundle's file.")],
    store: StoreOption = DEFAULT_STORE,
    champion: Annotated[
        Path | None,
        typer.Option(help="The bundle it went on from, where no run of the store knows it."),
    ] = None,
    score_tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Largest difference of a part's score.")
    ] = 0.5,
    auroc_tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Largest difference of the AUROC.")
    ] = 0.03,
    as_json: JsonOption = False,
) -> None:
    """Train a bundle again, and say whether the same comes out.

    Ends with 0 where weights and models are the same bit for bit, 1 where the scores of the holdout
    lie within the tolerances, 2 where they do not.
    """
    from trainer.reproduce import Answer, Tolerance, find_bundle, start_of  # torch takes seconds
    from trainer.reproduce import reproduce as train_again

    data, opened, clock = read_file(bundle), Store(store), SystemClock()
    start = start_of(data)
    earlier = read_file(champion) if champion else None
    if earlier is None and start is not None:
        earlier = find_bundle(Runs(opened.folder / "runs", clock), start)
    tolerance = Tolerance(score_tolerance, auroc_tolerance)
    with stopping() as stop, watched(stop) as watch:
        found = train_again(data, opened, tolerance, watch, clock, earlier)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        _show(found, bundle)
    sys.exit({Answer.SAME: 0, Answer.WITHIN: 1, Answer.DIFFERENT: 2}[found.answer])


def _show(found: "Reproduction", bundle: Path) -> None:
    console = Console(stderr=True)
    table = Table(title=f"{bundle.name}, trained again")
    for column in ("file", "bit for bit"):
        table.add_column(column)
    for name, same in found.files.items():
        table.add_row(name, "the same" if same else "not the same")
    console.print(table)
    for name, (then, now) in found.differs.items():
        console.print(f"{name}: made with {then}, here {now}")
    if found.schedule == "unknown":
        console.print("It went on after a kill: of its first steps no schedule is known.")
    if found.score is not None:
        console.print(
            f"On the holdout scores lie up to {found.score:.4f} apart, AUROC {found.auroc:.4f}."
        )
    typer.echo(str(found.answer))
