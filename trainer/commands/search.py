"""The command that searches for a better configuration."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet_contract.clock import SystemClock
from fleet_contract.errors import ConfigError
from fleet_contract.units import parse_seconds
from trainer.commands.data import DEFAULT_STORE, JsonOption, StoreOption
from trainer.commands.model import budget_of, stopping
from trainer.commands.show import watched
from trainer.config import load_config
from trainer.data.store import Store
from trainer.runs.folder import write_whole
from trainer.runs.inputs import newest


def search(
    config: Annotated[Path, typer.Argument(help="The line's TOML file.")],
    store: StoreOption = DEFAULT_STORE,
    dataset: Annotated[
        str, typer.Option(help="Digest of the data set, or its beginning; else the line's newest.")
    ] = "",
    trials: Annotated[int, typer.Option(min=1, help="Configurations to try, in all calls.")] = 20,
    time_budget: Annotated[str, typer.Option(help="Of this call: 90s, 30m, 2h.")] = "30m",
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 3,
    study: Annotated[
        Path | None, typer.Option(help="SQLite file of the search; else LINE-search.db here.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the best one; else LINE-best.toml here.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search for a better configuration, by cross-validation on the training side alone.

    Called again with the same study it goes on, after a kill too.
    """
    from trainer.search import Plan, best_file  # torch takes seconds to load
    from trainer.search import search as look

    loaded, opened = load_config(config), Store(store)
    line = loaded.line.name
    version = opened.version(dataset) if dataset else newest(opened, line)
    plan = Plan(
        trials, _seconds(time_budget), folds, (study or Path(f"{line}-search.db")).absolute()
    )
    with stopping() as stop, watched(stop) as watch:
        found = look(loaded, opened, version, plan, watch, SystemClock())
    target = out or Path(f"{line}-best.toml")
    text = best_file(config.read_text(encoding="utf-8"), found)
    write_whole(target, text.encode())
    if as_json:
        typer.echo(json.dumps({**found.to_json(), "config": str(target)}))
        return
    console = Console(stderr=True)
    first = "" if found.first is None else f", the file's own values {found.first:.4f}"
    console.print(f"{found.trials} trials: best AUROC {found.auroc:.4f}{first}")
    for name, value in found.changes.items():
        console.print(f"  {name} = {value}")
    typer.echo(str(target))


def _seconds(text: str) -> float:
    try:
        seconds = parse_seconds(budget_of(text))
    except ValueError as error:
        raise ConfigError(f"--time-budget {text!r}: {error}") from error
    if seconds <= 0:
        raise ConfigError("--time-budget leaves no time", expected="more than 0s", found=text)
    return seconds
