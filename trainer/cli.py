"""`loupe-trainer`: a registry of commands; each lives where its work is done."""

import sys

import typer

from fleet_contract.errors import LoupeError
from trainer.commands.data import datasets, import_images, new
from trainer.commands.measure import compare, evaluate
from trainer.commands.model import predict, train
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
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.command("predict")(predict)
app.command("worker")(worker)


def main() -> None:
    """Run the command line; an error that a person can mend is one message and exit code 2."""
    try:
        app()
    except LoupeError as error:
        typer.echo(f"loupe-trainer: {error}", err=True)
        sys.exit(2)
