"""One training as a recorded run: from what was ordered to bundle, figures and record."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet_contract import archive
from fleet_contract.clock import Clock
from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import ConfigError, DataError
from trainer.build import Builder, Built
from trainer.bundle import Origin, code_version, tools
from trainer.config import TrainerConfig
from trainer.crossval import cross_validate, summary
from trainer.data.store import Store
from trainer.runs.folder import OpenRun, write_whole
from trainer.runs.inputs import smoke_config, smoke_sample
from trainer.runs.machine import hardware, this_process
from trainer.runs.record import Ancestry, Order, Outcome, Record, Recorder, headline
from trainer.runs.values import changed, config_of, values_of
from trainer.training import StoppedError, TrainingError

Watch = Callable[[float, str], bool]


@dataclass(frozen=True, slots=True)
class Plan:
    """A training that may begin: everything was read and fits together."""

    config: TrainerConfig
    version: DatasetVersion
    order: Order
    champion: bytes | None

    @property
    def trained_on(self) -> DatasetVersion:
        """The data set, or a sample of it in a smoke run."""
        return smoke_sample(self.version, self.config) if self.order.smoke else self.version


@dataclass(frozen=True, slots=True)
class Done:
    """A run that made a bundle."""

    built: Built
    record: Record
    bundle: Path
    metrics: Path

    @property
    def gates_passed(self) -> bool:
        """Whether the bundle may be released, as far as its figures decide."""
        return bool(self.built.evaluation.get("gates", {"passed": True})["passed"])

    def to_json(self) -> dict[str, Any]:
        """What `train --json` prints."""
        return {
            "digest": self.built.digest, "dataset": self.record.dataset,
            "size_bytes": len(self.built.archive), "evaluation": self.built.evaluation,
            "comparison": self.built.comparison, "run": self.record.id,
            "bundle": str(self.bundle), "metrics": str(self.metrics),
        }  # fmt: skip


def ordered(config: TrainerConfig, order: Order) -> TrainerConfig:
    """The configuration with what the order says otherwise. Raises ConfigError."""
    if order.time_budget:
        config = changed(config, {"train.time_budget": order.time_budget}, "--time-budget")
    return smoke_config(config) if order.smoke else config


def plan(config: TrainerConfig, version: DatasetVersion, order: Order) -> Plan:
    """Reads the champion and makes the folders. Raises ConfigError, DataError."""
    for path in (order.out, order.metrics):
        _make_room(path)
    champion = _read(order.champion) if order.champion else None
    return Plan(ordered(config, order), version, order, champion)


def plan_again(record: Record, store: Store, config: TrainerConfig | None) -> Plan:
    """The plan of a run that goes on. `config` is the line's file, where it was named again.

    Raises ConfigError where configuration or champion are not those that the run began with.
    """
    settled = config_of(record.config, f"run {record.id}")
    if config is not None and ordered(config, record.order) != settled:
        raise ConfigError(
            f"the configuration is not the one that run {record.id} began with",
            expected=record.config_digest[:12], found=ordered(config, record.order).digest()[:12],
            remedy="Leave CONFIG out to go on as it began, or train anew without --resume.",
        )  # fmt: skip
    champion = _read(record.order.champion) if record.order.champion else None
    digest = archive.digest(champion) if champion else None
    if digest != record.lineage.champion:
        raise ConfigError(f"{record.order.champion} is not the champion that run {record.id} began with",
                          expected=str(record.lineage.champion)[:12], found=str(digest)[:12])  # fmt: skip
    return Plan(settled, store.version(record.dataset), record.order, champion)


def new_record(run: str, made: Plan, clock: Clock) -> Record:
    """The record of a run that begins now, in this process."""
    return Record(
        id=run, line=made.config.line.name, outcome=Outcome.RUNNING, started_s=clock.time(),
        dataset=made.version.digest(), order=made.order, config=values_of(made.config),
        config_digest=made.config.digest(), seed=made.config.train.seed, code=code_version(),
        environment=tools(), hardware=hardware(), process=this_process(),
        lineage=Ancestry(champion=archive.digest(made.champion) if made.champion else None,
                         dataset_parent=made.version.parent),
    )  # fmt: skip


def carry_out(
    made: Plan, store: Store, run: OpenRun, recorder: Recorder, watch: Watch, clock: Clock
) -> Done:
    """Trains, writes bundle and figures, and closes the record.

    Raises LoupeErrors; the record says so then: StoppedError, TrainingError (not converged), ...
    """
    with run:
        try:
            built = _build(made, store, run.record.id, recorder, run.checkpoint, watch, clock)
        except StoppedError as error:
            run.finish(Outcome.STOPPED, str(error))
            raise
        except TrainingError as error:
            run.finish(Outcome.NOT_CONVERGED, str(error))
            raise
        return _write(made, run, built)


def _build(
    made: Plan,
    store: Store,
    run: str,
    recorder: Recorder,
    checkpoint: Path,
    watch: Watch,
    clock: Clock,
) -> Built:
    version, folds = made.trained_on, made.order.folds
    origin = Origin(
        run=run, champion=archive.digest(made.champion) if made.champion else None,
        sample_of=made.version.digest() if made.order.smoke else None,
    )  # fmt: skip
    beside = {}
    if folds:
        part = _part(watch, 0, folds / (folds + 1))
        found = cross_validate(made.config, store, version, folds, part, clock)
        beside["cross_validation"] = summary(found)
    builder = Builder(
        made.config, store, version, clock, _part(watch, folds / (folds + 1), 1), origin=origin,
        champion=made.champion, recorder=recorder, checkpoint=checkpoint, beside=beside,
    )  # fmt: skip
    return builder.build()


def _part(watch: Watch, low: float, high: float) -> Watch:
    """A watch of a part of the work."""
    return lambda share, message: watch(low + (high - low) * share, message)


def _write(made: Plan, run: OpenRun, built: Built) -> Done:
    order = made.order
    name = f"{made.config.line.name}-{built.digest[:12]}.tar"
    bundle = Path(order.out) if order.out else Path(order.folder) / name
    metrics = Path(order.metrics) if order.metrics else bundle.parent / "metrics.json"
    write_whole(bundle, built.archive)
    write_whole(metrics, (json.dumps(built.evaluation, indent=1) + "\n").encode())
    run.finish(
        Outcome.SUCCEEDED, bundle=built.digest,
        artefacts={"bundle": str(bundle), "metrics": str(metrics)},
        results=headline(built.evaluation, built.comparison),
    )  # fmt: skip
    return Done(built, run.record, bundle, metrics)


def _make_room(path: str) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # Said now, and not when the training is over.
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
