"""How a benchmark runs as a program."""

import sys
from collections.abc import Callable

import typer

from fleet_contract.errors import LoupeError


def run(main: Callable[..., None]) -> None:
    """Runs `main` on the command line; an error that a person can mend is one message and exit 2."""
    try:
        typer.run(main)
    except LoupeError as error:
        typer.echo(f"benchmark: {error}", err=True)
        sys.exit(2)
