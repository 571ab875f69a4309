"""`loupe-agent`: run the station, check its configuration, look at it, take it back."""

import json
import logging
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from edge_agent.config import StationConfig, load_config
from edge_agent.example import EXAMPLE
from fleet_contract.errors import LoupeError, ResourceError, StateError

if TYPE_CHECKING:
    from edge_agent.update.durable import Durable

app = typer.Typer(
    help="The agent of one inspection station.", no_args_is_help=True, add_completion=False
)
ConfigPath = Annotated[Path, typer.Option("--config", help="The station's configuration (TOML).")]
RESTART_EXIT = 75
"""EX_TEMPFAIL: the service manager starts the agent again."""


@app.command()
def run(
    config: ConfigPath,
    verbose: Annotated[bool, typer.Option(help="Say more.")] = False,
) -> None:
    """Inspect until told to end (SIGTERM, SIGINT)."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("edge_agent").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("tuf").setLevel(logging.WARNING)
    station = load_config(config)
    from edge_agent.agent import Agent

    agent = Agent(station)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
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


@app.command()
def status(
    config: ConfigPath,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """What the station runs, from its own records; works without the agent and the network."""
    facts = _facts(load_config(config))
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    table = Table(show_header=False)
    for name, value in facts.items():
        table.add_row(name, "-" if value is None else str(value))
    Console().print(table)


@app.command()
def rollback(
    config: ConfigPath,
    line: Annotated[str, typer.Option(help="The line to take back.")],
) -> None:
    """Back to the line's previous bundle, here and now, without the server."""
    station = load_config(config)
    if line != station.line.name:
        raise StateError(
            f"this station has no line {line!r}", expected=station.line.name, found=line
        )
    durable = _records(station)
    from fleet_contract.names import Slot

    previous = durable.slots.get(line, Slot.PREVIOUS)
    if previous is None:
        raise StateError(
            f"line {line} has no previous bundle",
            remedy="A bundle becomes the previous one when the next is activated.",
        )
    durable.order("rollback", line)
    from edge_agent.lock import is_locked

    when = "now" if is_locked(station.data.folder) else "when the agent starts"
    typer.echo(f"line {line} goes back to {previous.digest[:12]} {when}")


def _records(station: StationConfig) -> "Durable":
    from edge_agent.agent import DATABASE
    from edge_agent.db import Database
    from edge_agent.health import stamp
    from edge_agent.spool import Spool
    from edge_agent.update.durable import Durable
    from fleet_contract.clock import SystemClock

    path = station.data.folder / DATABASE
    if not path.exists():
        raise StateError(f"{station.data.folder} holds no records: the agent never ran here")
    db = Database(path)
    return Durable(db, Spool(db, station.data.spool_limit, stamp), SystemClock())


def _facts(station: StationConfig) -> dict[str, str | int | None]:
    from edge_agent.lock import is_locked
    from fleet_contract.names import Slot

    durable, line = _records(station), station.line.name
    update = durable.update(line)
    slots = {slot: durable.slots.get(line, slot) for slot in Slot}
    records, size = durable.waiting()
    return {
        "device": station.device,
        "line": line,
        "running": "yes" if is_locked(station.data.folder) else "no",
        **{str(slot): row.digest if row else None for slot, row in slots.items()},
        "update": str(update.state) if update else None,
        "update_digest": update.target.digest if update else None,
        "update_failure": update.failure if update else None,
        "update_reason": update.reason if update else None,
        "epoch_floor": durable.memory.floor(line),
        "spool_records": records,
        "spool_bytes": size,
        "last_part": durable.last_part(station.source.camera),
    }


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
