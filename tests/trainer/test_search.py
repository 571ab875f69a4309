"""The search: on the training side alone, resumable, never worse than the file as measured."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from fleet_contract.clock import SystemClock
from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_contract.errors import ConfigError, DataError
from tests.support.imports import ROOT
from tests.support.wait import eventually
from tests.trainer.conftest import CONFIG
from trainer.config import TrainerConfig, parse_config
from trainer.crossval import cross_validate, fold_groups, summary
from trainer.data.store import Store
from trainer.search import Found, NothingFoundError, Plan, best_file, search, with_proposals

TINY = CONFIG.replace("epochs = 30", "epochs = 2")


def config() -> TrainerConfig:
    return parse_config(TINY, "test")


def plan(study: Path, trials: int = 3) -> Plan:
    return Plan(trials, 600.0, 2, study)


def quiet(_share: float, _message: str) -> bool:
    return False


def ended(study: Path) -> list[optuna.trial.FrozenTrial]:
    kept = optuna.load_study(study_name="discs", storage=f"sqlite:///{study}")
    return [trial for trial in kept.trials if trial.state.is_finished()]


# Cross-validation


def item(number: int, label: str) -> DatasetItem:
    return DatasetItem(sha256=f"{number:064x}", label=label, group=f"p{number}", split="train")


def test_folds_part_the_groups_and_hold_defects_of_every_class() -> None:
    items = [item(n, "good" if n < 20 else ("scratch", "stain")[n % 2]) for n in range(32)]
    folds = fold_groups(items, 4, seed=0)
    assert sorted(group for fold in folds for group in fold) == sorted(i.group for i in items)
    labels = {i.group: i.label for i in items}
    for fold in folds:
        assert {labels[group] for group in fold} == {"good", "scratch", "stain"}
        assert len(fold) == 8


def test_more_folds_than_defects_are_refused() -> None:
    items = [item(n, "good" if n < 9 else "scratch") for n in range(11)]
    with pytest.raises(DataError, match="too few defective parts for 3 folds"):
        fold_groups(items, 3, seed=0)


def test_cross_validation_sees_every_training_part_once_and_no_other(
    stored: tuple[Store, DatasetVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, version = stored
    read: list[str] = []
    get = Store.get
    held = {i.sha256 for i in version.side("holdout")}

    def noted(self: Store, name: str) -> bytes:
        read.append(name)
        return get(self, name)

    monkeypatch.setattr(Store, "get", noted)
    folds = cross_validate(config(), store, version, 2, quiet, SystemClock())
    assert sum(fold.parts for fold in folds) == len({i.group for i in version.side("train")})
    assert not held & set(read)
    found = summary(folds)
    assert found["image_auroc"] == pytest.approx(sum(f.image_auroc or 0 for f in folds) / 2)
    assert len(found["folds"]) == 2


# The search


def test_the_first_trial_is_the_file_itself_and_the_best_is_no_worse(
    stored: tuple[Store, DatasetVersion], tmp_path: Path
) -> None:
    store, version = stored
    study = tmp_path / "s.db"
    found = search(config(), store, version, plan(study), quiet, SystemClock())
    trials = ended(study)
    assert len(trials) == found.trials == 3
    assert trials[0].user_attrs["changes"] == {}
    assert found.first == trials[0].value
    assert found.auroc >= (found.first or 0.0)
    # Called again, nothing is left to do.
    again = search(config(), store, version, plan(study), quiet, SystemClock())
    assert again == found
    other = parse_config(TINY.replace("epochs = 2", "epochs = 3"), "x")
    with pytest.raises(ConfigError, match="holds the search of another configuration"):
        search(other, store, version, plan(study), quiet, SystemClock())


def test_a_killed_search_goes_on_and_does_the_torn_trial_again(
    stored: tuple[Store, DatasetVersion], tmp_path: Path
) -> None:
    store, version = stored
    study, path = tmp_path / "s.db", tmp_path / "discs.toml"
    path.write_text(TINY)
    words = ["search", str(path), "--store", str(store.folder), "--trials", "30", "--folds", "2",
             "--study", str(study), "--out", str(tmp_path / "best.toml")]  # fmt: skip
    command = [sys.executable, "-c", "from trainer.cli import main; main()", *words]
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def one_is_done() -> bool:
        # Read-only, for optuna's own way in would make the tables while the child makes them.
        try:
            with closing(sqlite3.connect(f"file:{study}?mode=ro", uri=True)) as database:
                query = "SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
                return bool(database.execute(query).fetchone()[0])
        except sqlite3.OperationalError:
            return False

    eventually(one_is_done, 120, "a trial is done")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = len([t for t in ended(study) if t.state.name != "FAIL"])
    more = plan(study, before + 1)
    assert search(config(), store, version, more, quiet, SystemClock()).trials == before + 1
    kept = optuna.load_study(study_name="discs", storage=f"sqlite:///{study}").trials
    torn = [trial for trial in kept if trial.state.name == "FAIL"]
    assert "RUNNING" not in {trial.state.name for trial in kept}
    for trial in torn:
        # The same values again, in the first trial after the kill.
        assert kept[-1].params.items() >= trial.params.items()


def test_a_search_without_time_says_that_it_found_nothing(
    stored: tuple[Store, DatasetVersion], tmp_path: Path
) -> None:
    short = Plan(3, 0.0, 2, tmp_path / "s.db")
    with pytest.raises(NothingFoundError, match="no trial came to its end"):
        search(config(), *stored, short, quiet, SystemClock())


def test_a_file_that_is_no_study_is_named(
    stored: tuple[Store, DatasetVersion], tmp_path: Path
) -> None:
    (tmp_path / "s.db").write_text("not a database, but long enough to be taken for one " * 20)
    with pytest.raises(ConfigError, match=r"s\.db is no study"):
        search(config(), *stored, plan(tmp_path / "s.db"), quiet, SystemClock())


def test_the_input_is_scaled_in_steps_that_the_network_takes() -> None:
    scaled = with_proposals(config(), {"input.scale": 1.25})
    assert (scaled.input.width, scaled.input.height) == (80, 80)


def test_the_best_file_keeps_comments_and_reads_as_a_configuration() -> None:
    text = TINY.replace("learning_rate = 0.004", "learning_rate = 0.004  # as ever")
    changes = {"train.learning_rate": 0.002, "augment.noise": [0.0, 2.0]}
    found = Found(with_proposals(config(), changes), changes, 0.95, 0.9, 3)
    written = best_file("# My line.\n" + text, found)
    assert "# My line." in written
    assert "learning_rate = 0.002" in written
    assert "was 0.004" in written
    assert parse_config(written, "best") == found.config
