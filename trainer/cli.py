"""`loupe-trainer`: a registry of commands; each lives where its work is done."""

import sys

import typer

from fleet_contract.errors import LoupeError
from trainer.commands.check import compare_versions, datasets, split, validate
from trainer.commands.data import export_dataset, import_images, new
from trainer.commands.measure import compare, evaluate
from trainer.commands.model import predict, train
from trainer.commands.reproduce import reproduce
from trainer.commands.runs import app as runs
from trainer.commands.search import search
from trainer.commands.work import worker

app = typer.Typer(
    help="Trains models from images, measures them and packs them into bundles.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("new")(new)
app.command("import")(import_images)
app.command("datasets")(datasets)
app.command("validate")(validate)
app.command("split")(split)
app.command("diff")(compare_versions)
app.command("export-dataset")(export_dataset)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.command("predict")(predict)
app.command("reproduce")(reproduce)
app.add_typer(runs, name="runs")
app.command("search")(search)
app.command("worker")(worker)


def main() -> None:
    """Run the command line; an error that a person can mend is one message and exit code 2."""
    try:
        app()
    except LoupeError as error:
        typer.echo(f"loupe-trainer: {error}", err=True)
        sys.exit(2)
