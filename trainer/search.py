"""Searches the configuration: a library's sampler (optuna), scored by cross-validation.

The holdout is never looked at: what was chosen on it could not be measured on it afterwards. The
file's own values are the first trial, so that what comes out is never worse than them as measured.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import tomlkit
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from tomlkit.exceptions import TOMLKitError

from fleet_contract.clock import Clock
from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import ConfigError, LoupeError
from trainer.config import TrainerConfig
from trainer.crossval import Fold, cross_validate
from trainer.data.store import Store
from trainer.runs.values import changed, flat, values_of
from trainer.training import TrainingError

_SEEN = 3
"""Trials before one is cut short for being worse than the median of the others."""
_CONFIG, _DATASET, _FOLDS = "configuration", "dataset", "folds"
_DONE = (TrialState.COMPLETE, TrialState.PRUNED)

Watch = Callable[[float, str], bool]
Proposal = Callable[[Trial], object]


class NothingFoundError(LoupeError):
    """No trial came to its end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how thoroughly is searched."""

    trials: int
    """Of the study as a whole, those of earlier calls included."""
    time_budget_s: float
    """Of this call; divided among the trainings that are left."""
    folds: int
    study: Path
    """SQLite file."""


@dataclass(frozen=True, slots=True)
class Found:
    """The best configuration so far."""

    config: TrainerConfig
    changes: dict[str, Any]
    """By `table.key`: what it has in place of the file's values."""
    auroc: float
    """Mean over folds."""
    first: float | None
    """Of the file's own values; None where that trial did not come to its end."""
    trials: int
    """That ended, those cut short included."""

    def to_json(self) -> dict[str, Any]:
        """What `search --json` prints."""
        return {"image_auroc": self.auroc, "first": self.first, "trials": self.trials,
                "changes": self.changes}  # fmt: skip


def space(config: TrainerConfig) -> dict[str, Proposal]:
    """What is varied, by `table.key`, and how a trial proposes it: whatever the family knows."""
    proposals: dict[str, Proposal] = {
        "augment.gain": lambda t: _around(t.suggest_float("augment.gain", 0.05, 0.5)),
        "augment.noise": lambda t: [0.0, t.suggest_float("augment.noise", 0.0, 8.0)],
        "augment.flip": lambda t: t.suggest_categorical("augment.flip", [False, True]),
    }
    if config.train.family in ("supervised", "good_only"):
        rate = config.train.learning_rate
        proposals |= {
            "train.learning_rate": lambda t: t.suggest_float(
                "train.learning_rate", rate / 8, min(rate * 8, 0.5), log=True
            ),
            "train.synthetic": lambda t: t.suggest_float("train.synthetic", 0.0, 0.6),
        }
    if config.train.network == "light":
        proposals["train.width_factor"] = lambda t: t.suggest_categorical(
            "train.width_factor", [0.5, 1.0, 1.5]
        )
    if config.input.width is not None:
        proposals["input.scale"] = lambda t: t.suggest_categorical("input.scale", [0.75, 1.0, 1.25])
    return proposals


def _around(spread: float) -> list[float]:
    """A range of light: the same factor to the dark as to the bright."""
    return [round(1 / (1 + spread), 4), round(1 + spread, 4)]


def with_proposals(config: TrainerConfig, proposed: Mapping[str, Any]) -> TrainerConfig:
    """The configuration with what a trial proposed."""
    changes = dict(proposed)
    scale = changes.pop("input.scale", None)
    if scale is not None and config.input.width is not None and config.input.height is not None:
        for name, side in (("width", config.input.width), ("height", config.input.height)):
            changes[f"input.{name}"] = min(max(64, round(side * scale / 16) * 16), 2048)
    return changed(config, changes, "the search")


def search(
    config: TrainerConfig, store: Store, version: DatasetVersion, plan: Plan, watch: Watch, clock: Clock
) -> Found:  # fmt: skip
    """Goes on with the study until its trials, or this call's time, are used up.

    Raises ConfigError where the file holds the study of another configuration or data set,
    NothingFoundError where no trial came to its end, StoppedError where `watch` says so.
    """
    study = _study(config, version, plan)
    _take_up(study)
    ends_s = clock.monotonic() + plan.time_budget_s
    if not study.trials:
        study.enqueue_trial({}, user_attrs={"first": True})
    while (left := plan.trials - len(_ended(study))) > 0 and clock.monotonic() < ends_s:
        each_s = (ends_s - clock.monotonic()) / left / plan.folds
        trial = study.ask()
        state, value = _try(trial, config, store, version, plan, each_s, watch, clock)
        study.tell(trial, value, state)
    return _best(study, config)


def _study(config: TrainerConfig, version: DatasetVersion, plan: Plan) -> optuna.Study:
    optuna.logging.set_verbosity(logging.WARNING)
    plan.study.parent.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{plan.study}", study_name=config.line.name, load_if_exists=True,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=config.train.seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_SEEN),
        )  # fmt: skip
    except SQLAlchemyError as error:
        raise ConfigError(f"{plan.study} is no study: {str(error).splitlines()[0]}",
                          expected="a SQLite file that search made, or a new name") from error  # fmt: skip
    about = {_CONFIG: config.digest(), _DATASET: version.digest(), _FOLDS: plan.folds}
    for name, value in about.items():
        known = study.user_attrs.get(name)
        if known is None:
            study.set_user_attr(name, value)
        elif known != value:
            raise ConfigError(
                f"{plan.study} holds the search of another {name}",
                expected=str(known)[:12], found=str(value)[:12],
                remedy="Name another file with --study to search anew.",
            )  # fmt: skip
    return study


def _take_up(study: optuna.Study) -> None:
    """What a kill left half done is done again, first of all."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs=dict(trial.user_attrs))


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(states=_DONE)


def _try(
    trial: Trial, config: TrainerConfig, store: Store, version: DatasetVersion, plan: Plan,
    each_s: float, watch: Watch, clock: Clock,
) -> tuple[TrialState, float | None]:  # fmt: skip
    """Cross-validates one proposal; how it ended, and the mean AUROC where it was not cut short."""
    proposed = {} if trial.user_attrs.get("first") else _propose(trial, config)
    trial.set_user_attr("changes", proposed)
    budget = f"{min(each_s, config.train.time_budget):.3f}s"
    settled = changed(with_proposals(config, proposed), {"train.time_budget": budget}, "the search")
    known: list[float] = []

    def after(index: int, fold: Fold) -> None:
        if fold.image_auroc is not None:
            known.append(fold.image_auroc)
            trial.report(sum(known) / len(known), index)
        if trial.should_prune():
            raise optuna.TrialPruned

    def told(share: float, message: str) -> bool:
        done = min((trial.number + share) / plan.trials, 1.0)
        return watch(done, f"trial {trial.number + 1} of {plan.trials}: {message}")

    try:
        cross_validate(settled, store, version, plan.folds, told, clock, after)
    except optuna.TrialPruned:
        return TrialState.PRUNED, None
    except TrainingError:
        # Values with which nothing is learnt are an answer too: the worst one.
        return TrialState.COMPLETE, 0.0
    return TrialState.COMPLETE, sum(known) / len(known) if known else 0.0


def _propose(trial: Trial, config: TrainerConfig) -> dict[str, Any]:
    return {name: proposal(trial) for name, proposal in space(config).items()}


def _best(study: optuna.Study, config: TrainerConfig) -> Found:
    ended = _ended(study)
    complete = [trial for trial in ended if trial.value is not None and trial.state in _DONE[:1]]
    if not complete:
        raise NothingFoundError(
            "no trial came to its end", expected="one at least", found=f"{len(ended)} cut short",
            remedy="Give it more time with --time-budget; the same --study goes on.",
        )  # fmt: skip
    best = max(complete, key=lambda trial: trial.value or 0.0)
    firsts = [trial.value for trial in complete if trial.user_attrs.get("first")]
    chosen = with_proposals(config, best.user_attrs["changes"])
    before, now = flat(values_of(config)), flat(values_of(chosen))
    changes = {name: value for name, value in now.items() if before[name] != value}
    return Found(chosen, changes, best.value or 0.0, next(iter(firsts), None), len(ended))


def best_file(text: str, found: Found) -> str:
    """The line's file `text` with the values that were found, its comments kept, each new value
    with the one it replaces. Raises ConfigError for text that is not TOML."""
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise ConfigError(f"the configuration is not TOML: {error}") from error
    for name, value in found.changes.items():
        table, _, key = name.partition(".")
        if table not in document:
            document[table] = tomlkit.table()
        section: Any = document[table]
        was = section.unwrap().get(key, "the default")
        section[key] = tomlkit.item(value)
        section[key].comment(f"found by search; was {was}")
    head = (f"Found by search: cross-validated AUROC {found.auroc:.4f} "
            f"over {found.trials} trials")  # fmt: skip
    if found.first is not None:
        head += f"; the values before: {found.first:.4f}"
    return f"# {head}.\n{tomlkit.dumps(document)}"
