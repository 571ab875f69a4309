"""`loupe-agent`: run the station, check its configuration; what a person at the box asks is beside it."""

import os
import signal
import sqlite3
import sys
from typing import Annotated

import typer

from edge_agent.box.commands import ConfigPath, register
from edge_agent.config import load_config
from edge_agent.example import EXAMPLE
from fleet_contract.errors import LoupeError, ResourceError

app = typer.Typer(
    help="The agent of one inspection station.", no_args_is_help=True, add_completion=False
)
RESTART_EXIT = 75
"""EX_TEMPFAIL: the service manager starts the agent again."""


@app.command()
def run(
    config: ConfigPath,
    verbose: Annotated[bool, typer.Option(help="Say more.")] = False,
) -> None:
    """Inspect until told to end (SIGTERM, SIGINT); SIGHUP reads the configuration anew."""
    station = load_config(config)
    from edge_agent.agent import Agent
    from edge_agent.box.logs import set_up

    set_up(station.data.folder, verbose=verbose)

    agent = Agent(config, station)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    signal.signal(signal.SIGHUP, lambda *_: agent.reread())
    agent.run()
    if agent.restart_wanted:
        raise typer.Exit(RESTART_EXIT)


@app.command()
def check(config: ConfigPath) -> None:
    """Check the configuration and the files that it names, without starting anything."""
    from edge_agent.connection import tls_context
    from edge_agent.state import device_key
    from fleet_contract.board import read_board

    station = load_config(config)
    board = read_board(station.board.file)
    tls_context(station.link)
    device_key(station.device, station.link)
    for path in (station.trust.image_root, station.trust.director_root):
        if not path.is_file():
            raise ResourceError(
                f"{path} is not there", remedy="`loupe-server device add` writes it."
            )
    typer.echo(
        f"{config}: {station.device} inspects {station.line.name} on {board.hardware}"
        f" ({board.runtime}/{board.precision}); all files are there"
    )


@app.command("example-config")
def example_config() -> None:
    """Print a complete, commented configuration."""
    typer.echo(EXAMPLE, nl=False)


register(app)


def main() -> None:
    """An error that a person can mend is one message and exit code 2."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        app()
    except LoupeError as error:
        typer.echo(f"loupe-agent: {error}", err=True)
        sys.exit(2)
    except sqlite3.Error as error:
        typer.echo(f"loupe-agent: the agent's records cannot be used: {error}", err=True)
        sys.exit(2)
