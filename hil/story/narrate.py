"""What the story says while it plays."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table


class Narrator:
    """Headings, sentences and small tables, each heading with the time since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self.spans: dict[str, float] = {}
        """Seconds that each act took."""

    @contextmanager
    def act(self, number: int, title: str) -> Iterator[None]:
        """An act of the story."""
        began = time.monotonic()
        self._console.print(f"\n[bold]{number}. {title}[/bold]  [dim]{self._clock()}[/dim]")
        yield
        self.spans[title] = time.monotonic() - began

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Shows, on a terminal, what is waited for."""
        with self._console.status(f"waiting until {what}"):
            yield

    def say(self, text: str) -> None:
        """A sentence."""
        self._console.print(f"   {text}", highlight=False)

    def table(self, rows: list[Mapping[str, object]]) -> None:
        """Rows with the same keys."""
        if not rows:
            return
        table = Table(*rows[0], box=None, padding=(0, 2, 0, 0), header_style="dim")
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        self._console.print(table)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._start)
        return f"{seconds // 60}:{seconds % 60:02d}"
