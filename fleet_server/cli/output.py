"""What both command lines share: one message for an error, tables, JSON."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from fleet_contract.errors import LoupeError


def run_app(app: typer.Typer) -> None:
    """Runs a command line: a `LoupeError` is one message on stderr and exit code 2."""
    try:
        app()
    except LoupeError as error:
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"Error: {error}")
        sys.exit(2)


def show_json(content: object) -> None:
    """`content` on stdout, for programs."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def show_table(
    title: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Callable[[Any], str]]
) -> None:
    """Rows for people; `columns` is heading -> how a row shows there."""
    console = Console()
    if not rows:
        console.print(f"{title}: none")
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in columns:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(show(row) for show in columns.values()))
    console.print(table)


def show_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Name and value, one a line."""
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")  # a digest is shown whole, however narrow the terminal
    for name, value in fields:
        table.add_row(name, str(value))
    Console().print(table)


def moment(time_s: float | None) -> str:
    """Local time to the second; `never` for None."""
    if time_s is None:
        return "never"
    return datetime.fromtimestamp(time_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short(digest: str | None) -> str:
    """The first 12 digits; `-` for None."""
    return digest[:12] if digest else "-"


def say(text: str) -> None:
    """One line on stdout, as it is."""
    Console(soft_wrap=True, highlight=False, markup=False).print(text)
