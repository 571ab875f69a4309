"""What `train` does once its options are read; apart from them, because it loads torch."""

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from fleet_contract.clock import Clock, SystemClock
from fleet_contract.errors import ConfigError
from trainer.commands.model import stopping
from trainer.commands.show import evaluation_table, watched
from trainer.config import TrainerConfig, load_config
from trainer.data.store import Store
from trainer.runs.folder import OpenRun, Runs
from trainer.runs.inputs import newest
from trainer.runs.record import Order, Outcome, Recorder
from trainer.runs.session import Done, Plan, carry_out, new_record, plan, plan_again
from trainer.tracking import Tracker
from trainer.training import StoppedError, TrainingError

DONE, GATES_FAILED, NOT_DONE = 0, 3, 4
"""Exit statuses, beside 2 for a person's mistake."""


class Both:
    """A run's figures into its record and into MLflow."""

    def __init__(self, run: OpenRun, tracker: Tracker) -> None:
        self._run, self._tracker = run, tracker

    def metric(self, step: int, values: dict[str, float]) -> None:
        self._run.metric(step, values)
        self._tracker.metric(step, values)

    def shares(self) -> dict[int, dict[int, float]]:
        return self._run.shares()


def run_training(
    store: Store,
    config: Path | None,
    dataset: str,
    order: Order,
    resume: str,
    mlflow: str,
    *,
    as_json: bool,
) -> int:
    """The exit status. Raises LoupeError for a mistake that a person can mend."""
    clock = SystemClock()
    runs = Runs(store.folder / "runs", clock)
    loaded = load_config(config) if config else None
    if resume:
        made, run = _again(store, runs, loaded, dataset, order, resume)
    else:
        made, run = _begin(store, runs, loaded, dataset, order, clock)
    console = Console(stderr=True)
    console.print(f"run {run.record.id}")
    try:
        done = _tracked(made, store, run, mlflow, clock)
    except (StoppedError, TrainingError) as error:
        typer.echo(f"loupe-trainer: {error}", err=True)
        if run.record.outcome is Outcome.STOPPED:
            typer.echo(f"Go on with: loupe-trainer train --resume {run.record.id}", err=True)
        return NOT_DONE
    _show(done, console, as_json=as_json)
    # A smoke run's figures mean nothing: that it came this far is what was asked.
    return DONE if done.gates_passed or order.smoke or run.record.order.smoke else GATES_FAILED


def _begin(
    store: Store, runs: Runs, config: TrainerConfig | None, dataset: str, order: Order, clock: Clock
) -> tuple[Plan, OpenRun]:
    if config is None:
        raise ConfigError("no configuration was named", expected="CONFIG, the line's TOML file",
                          remedy="`loupe-trainer new LINE` prints one.")  # fmt: skip
    version = store.version(dataset) if dataset else newest(store, config.line.name)
    made = plan(config, version, order)
    return made, runs.start(new_record(runs.new_id(config.line.name), made, clock))


def _again(
    store: Store, runs: Runs, config: TrainerConfig | None, dataset: str, order: Order, name: str
) -> tuple[Plan, OpenRun]:
    if dataset or order != Order():
        raise ConfigError("--resume takes everything else from the run",
                          remedy="Leave out the other options, or train anew without --resume.")  # fmt: skip
    record = runs.find(name)
    made = plan_again(record, store, config)
    return made, runs.resume(record)


def _tracked(made: Plan, store: Store, run: OpenRun, mlflow: str, clock: Clock) -> Done:
    with run:
        tracker = Tracker(mlflow, run.record, clock) if mlflow else None
    recorder: Recorder = run if tracker is None else Both(run, tracker)
    try:
        with stopping() as stop, watched(stop) as watch:
            return carry_out(made, store, run, recorder, watch, clock)
    finally:
        if tracker is not None:
            files = [run.record_file, run.metrics_file, *map(Path, run.record.artefacts.values())]
            tracker.finish(run.record, files)


def _show(done: Done, console: Console, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(done.to_json()))
        return
    evaluation, comparison = done.built.evaluation, done.built.comparison
    console.print(evaluation_table(evaluation, f"bundle {done.built.digest[:12]}"))
    found: dict[str, Any] | None = evaluation.get("cross_validation")
    if found is not None and found["image_auroc"] is not None:
        spread = "" if found["deviation"] is None else f" (deviation {found['deviation']:.3f})"
        console.print(
            f"cross-validated on the training side: AUROC {found['image_auroc']:.3f}{spread}"
        )
    if comparison:
        console.print(f"{comparison['outcome']}: {comparison['why']}")
    for check in evaluation.get("gates", {"checks": []})["checks"]:
        if not check["passed"]:
            console.print(f"gate {check['name']} failed: {check['why']}")
    console.print(f"{done.bundle} and {done.metrics}")
    typer.echo(done.built.digest)
