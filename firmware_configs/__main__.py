"""`python -m firmware_configs list|show|schema|render`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from firmware_configs.render import render
from firmware_configs.schema import find, json_schema, names
from fleet_contract.errors import LoupeError, ResourceError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Hardware profiles of devices.")


@app.command("list")
def list_boards() -> None:
    """The boards, one a line: name, title, how far it was tested."""
    for name in names():
        board = find(name)
        typer.echo(f"{name:20} {board.title:24} tested: {board.tested}")


@app.command()
def show(board: str) -> None:
    """The profile of BOARD with every value, as JSON."""
    typer.echo(find(board).model_dump_json(indent=2))


@app.command()
def schema() -> None:
    """JSON Schema of a board's file."""
    typer.echo(json.dumps(json_schema(), indent=2))


@app.command("render")
def render_files(
    board: str, out: Annotated[Path, typer.Option(help="Folder for the files; made if missing.")]
) -> None:
    """Writes what BOARD needs on the device: board.toml and loupe-agent.service."""
    files = render(find(board))
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text)
    except OSError as error:
        raise ResourceError(f"{out} cannot be written: {error.strerror}") from error
    typer.echo("\n".join(str(out / name) for name in files))


def main() -> None:
    """Runs the command line; an error of ours is one message and exit status 2."""
    try:
        app()
    except LoupeError as error:
        typer.echo(f"firmware_configs: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
