"""`loupe-trainer runs`: what was trained in a store, how it went, and what sets two runs apart."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fleet_contract.clock import SystemClock
from trainer.commands.data import DEFAULT_STORE, JsonOption, StoreOption
from trainer.data.store import Store
from trainer.runs.compare import differences
from trainer.runs.folder import Runs
from trainer.runs.record import Record
from trainer.runs.values import flat

app = typer.Typer(help="List, show and compare training runs.", no_args_is_help=True)
RunArgument = Annotated[str, typer.Argument(help="Its id, a part of it, or `last`.")]


@app.command("list")
def list_runs(
    store: StoreOption = DEFAULT_STORE,
    line: Annotated[str, typer.Option(help="Only runs of this line.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the runs of a store, the oldest first."""
    records = [record for record in _runs(store).all() if line in ("", record.line)]
    if as_json:
        typer.echo(json.dumps({"runs": [_row(record) for record in records]}))
        return
    table = Table()
    for column in ("run", "outcome", "took", "AUROC", "escape", "overkill", "bundle"):
        table.add_column(column, overflow="fold")
    for record in records:
        figures = [_text(record.results.get(k)) for k in ("image_auroc", "escape", "overkill")]
        bundle = record.bundle[:12] if record.bundle else _first_line(record.error)
        table.add_row(record.id, record.outcome, _took(record), *figures, bundle)
    Console().print(table)


@app.command("show")
def show_run(
    run: RunArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """Show a run: what went in, how it went, what came out."""
    runs = _runs(store)
    record = runs.find(run)
    metrics = runs.metrics(record.id)
    if as_json:
        typer.echo(json.dumps({**record.model_dump(mode="json"), "metrics": metrics}))
        return
    table = Table(title=f"run {record.id}", show_header=False)
    for name, value in _facts(record, metrics).items():
        table.add_row(name, _text(value))
    table.add_section()
    for name, value in record.results.items():
        table.add_row(name, _text(value))
    table.add_section()
    for name, value in flat(record.config).items():
        table.add_row(name, _text(value))
    Console().print(table)


@app.command("compare")
def compare_runs(
    first: RunArgument,
    second: RunArgument,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show what differs between two runs."""
    runs = _runs(store)
    found = differences(runs.find(first), runs.find(second))
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table()
    for column in ("", *found["runs"], "difference"):
        table.add_column(column, overflow="fold")
    table.add_row("outcome", *found["outcomes"], "")
    for name, values in found["inputs"].items():
        table.add_row(name, *(_text(value) for value in values), "")
    table.add_section()
    for name, result in found["results"].items():
        table.add_row(name, *(_text(v) for v in result["values"]), _signed(result["difference"]))
    Console().print(table)
    if not found["comparable"]:
        typer.echo(
            "The results were measured on different data: do not read one against the other."
        )


def _runs(store: Path) -> Runs:
    return Runs(Store(store).folder / "runs", SystemClock())


def _row(record: Record) -> dict[str, Any]:
    kept = {
        "id",
        "line",
        "outcome",
        "error",
        "started_s",
        "ended_s",
        "dataset",
        "bundle",
        "results",
    }
    return record.model_dump(mode="json", include=kept)


def _facts(record: Record, metrics: list[dict[str, float]]) -> dict[str, Any]:
    last = metrics[-1] if metrics else {}
    return {
        "outcome": record.outcome, "error": record.error or None,
        "started": _moment(record.started_s), "took": _took(record),
        "went on at": ", ".join(map(_moment, record.resumed_s)) or None,
        "steps": last.get("step"), "last loss": last.get("loss"),
        "data set": record.dataset, "champion": record.lineage.champion, "bundle": record.bundle,
        **record.artefacts, "code": record.code, "seed": record.seed,
        "machine": f"{record.hardware.processor}, {record.hardware.cores} cores",
        "smoke run": record.order.smoke,
    }  # fmt: skip


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _took(record: Record) -> str:
    if record.ended_s is None:
        return "-"
    minutes, seconds = divmod(round(record.ended_s - record.started_s), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4g}"


def _first_line(text: str) -> str:
    return text.split("\n")[0][:60] or "-"
