"""`loupe-hil`: a registry of commands; each lives where its work is done."""

import sys

import typer

from fleet_contract.errors import LoupeError
from hil.camera.command import camera
from hil.dataset import dataset
from hil.story.bad_bundle import bad_bundle
from hil.story.command import demo

app = typer.Typer(
    help="Rigs: a simulated line camera, data sets of rendered parts, and the whole story as a demo.",
    no_args_is_help=True,
    add_completion=False,
)
app.command("camera")(camera)
app.command("dataset")(dataset)
app.command("bad-bundle")(bad_bundle)
app.command("demo")(demo)


def main() -> None:
    """Run the command line; an error that a person can mend is one message and exit code 2."""
    try:
        app()
    except LoupeError as error:
        typer.echo(f"loupe-hil: {error}", err=True)
        sys.exit(2)
