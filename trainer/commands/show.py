"""What the commands show: bars and tables on standard error, so that standard output stays clean."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fleet_contract.dataset import DatasetVersion


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; gives a function that takes (done, total)."""
    with _progress() as progress:
        task = progress.add_task(what, total=None)

        def tick(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield tick


@contextmanager
def watched(stop: threading.Event) -> Iterator[Callable[[float, str], bool]]:
    """A progress bar of a build; gives its watch, which says stop once `stop` is set."""
    with _progress() as progress:
        task = progress.add_task("starting", total=1.0)

        def watch(share: float, message: str) -> bool:
            progress.update(task, completed=share, description=message)
            return stop.is_set()

        yield watch


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


def dataset_table(version: DatasetVersion, counts: dict[str, dict[str, int]]) -> Table:
    """Images by label and side."""
    table = Table(title=f"{version.line}: {len(version.items)} images, {version.reason}")
    for column in ("label", "train", "holdout"):
        table.add_column(column, justify="left" if column == "label" else "right")
    for label, sides in sorted(counts.items()):
        table.add_row(label, str(sides["train"]), str(sides["holdout"]))
    return table


def evaluation_table(report: dict[str, Any], title: str) -> Table:
    """The figures of every model side by side."""
    models: dict[str, dict[str, Any]] = report["models"]
    table = Table(title=title)
    table.add_column(f"{report['images']} images of {report['parts']} parts")
    for key in models:
        table.add_column(key, justify="right")
    for name in ("image_auroc", "image_ap", "pixel_ap", "f1"):
        table.add_row(name, *(_number(figures[name]) for figures in models.values()))
    for name in ("escape", "overkill"):
        table.add_row(name, *(_rate(figures[name]) for figures in models.values()))
    for name in ("p50", "p99"):
        cells = (f"{figures['latency_ms'][name]:.1f} ms" for figures in models.values())
        table.add_row(f"latency {name}", *cells)
    sizes = (f"{figures['size_bytes'] / 1e3:.0f} kB" for figures in models.values())
    table.add_row("size", *sizes)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _rate(rate: dict[str, Any]) -> str:
    if rate["rate"] is None:
        return "-"
    return f"{rate['rate']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"
