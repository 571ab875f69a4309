"""Records of runs: complete, readable after a kill, comparable; and what `train` takes by itself."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fleet_contract import archive
from fleet_contract.clock import ManualClock
from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import BundleError, ConfigError, DataError, StateError
from tests.support.imports import ROOT
from tests.support.wait import eventually
from tests.trainer.conftest import CONFIG
from trainer.cli import app
from trainer.config import TrainerConfig, parse_config
from trainer.data.store import Store
from trainer.runs.compare import differences
from trainer.runs.facts import ShareLog, by_steps_alone, how_trained, training_files
from trainer.runs.folder import METRICS, RECORD, Runs, read_metrics
from trainer.runs.inputs import newest, not_releasable, smoke_sample
from trainer.runs.machine import hardware, is_alive, this_process
from trainer.runs.record import Order, Outcome, Record
from trainer.runs.values import changed, config_of, values_of
from trainer.template import template

RUNNER = CliRunner()


def config() -> TrainerConfig:
    return parse_config(CONFIG, "test")


def record(run: str, **fields: Any) -> Record:
    made = config()
    about = {
        "id": run, "line": "discs", "outcome": Outcome.RUNNING, "started_s": 100.0,
        "dataset": "a" * 64, "config": values_of(made), "config_digest": made.digest(), "seed": 0,
        "code": "loupe 1", "environment": {"torch": "2"}, "hardware": hardware(),
        "process": this_process(), **fields,
    }  # fmt: skip
    return Record.model_validate(about)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs", ManualClock())


# What is written down


def test_a_run_says_how_it_ended_and_what_came_out(runs: Runs) -> None:
    run = runs.start(record("r1"))
    run.metric(1, {"share": 0.5, "loss": 0.7})
    run.metric(2, {"share": 1.0, "loss": 0.4})
    run.finish(Outcome.SUCCEEDED, bundle="b" * 64, results={"image_auroc": 0.9})
    found = runs.find("r1")
    assert (found.outcome, found.bundle, found.results) == (
        "succeeded",
        "b" * 64,
        {"image_auroc": 0.9},
    )
    assert found.ended_s is not None
    assert [line["loss"] for line in runs.metrics("r1")] == [0.7, 0.4]


def test_figures_lie_on_the_disk_after_every_step(runs: Runs) -> None:
    run = runs.start(record("r1"))
    run.metric(1, {"loss": 0.7})
    assert read_metrics(run.metrics_file)[0]["loss"] == 0.7


def test_an_error_ends_the_record_of_its_run(runs: Runs) -> None:
    for name, error, outcome in (
        ("known", DataError("no images"), "failed"),
        ("unknown", ZeroDivisionError("x"), "failed"),
        ("stopped", KeyboardInterrupt(), "stopped"),
    ):
        with pytest.raises(type(error)), runs.start(record(name)):
            raise error
        assert runs.find(name).outcome == outcome
    assert runs.find("unknown").error == "unexpected ZeroDivisionError('x')"


def test_a_line_that_a_kill_tore_is_left_out_and_the_next_one_is_whole(runs: Runs) -> None:
    folder = runs.start(record("r1")).record_file.parent
    (folder / METRICS).write_text('{"step": 1, "loss": 0.9}\n{"step": 2, "lo')
    again = runs.resume(record("r1", outcome="stopped"))
    again.metric(2, {"loss": 0.5})
    assert [(line["step"], line["loss"]) for line in runs.metrics("r1")] == [(1, 0.9), (2, 0.5)]


def test_steps_that_are_done_again_after_a_kill_count_once(runs: Runs) -> None:
    run = runs.start(record("r1"))
    for step, loss in ((1, 0.9), (2, 0.8), (3, 0.7), (2, 0.6)):
        run.metric(step, {"loss": loss, "share": step / 4})
    assert [line["loss"] for line in runs.metrics("r1")] == [0.9, 0.6, 0.7]
    assert run.shares() == {0: {1: 0.25, 2: 0.5, 3: 0.75}}


def test_a_broken_record_is_named(runs: Runs) -> None:
    path = runs.start(record("r1")).record_file
    path.write_text('{"id": "r1"}')
    with pytest.raises(DataError, match=rf"r1/{RECORD} is no run's record"):
        runs.all()


# Which process


def test_a_process_that_runs_is_alive_and_one_that_ended_is_not() -> None:
    assert is_alive(this_process())
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert not is_alive(this_process().model_copy(update={"pid": child.pid}))


def test_a_number_that_another_process_got_is_not_the_run() -> None:
    assert not is_alive(this_process().model_copy(update={"started_ticks": 1}))
    assert not is_alive(this_process().model_copy(update={"boot_id": "another"}))


def test_a_process_of_another_host_cannot_be_asked() -> None:
    assert is_alive(this_process().model_copy(update={"host": "elsewhere", "boot_id": "other"}))


def test_a_run_whose_process_is_gone_shows_as_killed(runs: Runs) -> None:
    runs.start(record("r1", process=this_process().model_copy(update={"started_ticks": 1})))
    assert runs.find("r1").outcome == "killed"


# Finding and going on


def test_a_run_is_found_by_any_part_of_its_id(runs: Runs) -> None:
    for name in ("20261120-a", "20261120-b", "20261121-c"):
        runs.start(record(name, started_s=float(name[6:8])))
    assert runs.find("1121").id == "20261121-c"
    assert runs.find("last").id == "20261121-c"
    with pytest.raises(DataError, match="more than one run"):
        runs.find("1120")
    with pytest.raises(DataError, match="no run is called"):
        runs.find("gone")


def test_a_run_that_was_done_does_not_go_on(runs: Runs) -> None:
    runs.start(record("r1")).finish(Outcome.SUCCEEDED)
    with pytest.raises(StateError, match="cannot go on"):
        runs.resume(runs.find("r1"))


def test_a_run_that_goes_on_keeps_its_id_and_says_when(runs: Runs) -> None:
    runs.start(record("r1")).finish(Outcome.STOPPED, "told to")
    again = runs.resume(runs.find("r1"))
    assert (again.record.outcome, again.record.error) == ("running", "")
    assert len(again.record.resumed_s) == 1


def test_a_checkpoint_is_kept_until_the_run_is_done(runs: Runs) -> None:
    run = runs.start(record("r1"))
    beside = run.checkpoint.with_name(f"{run.checkpoint.name}.1")
    for path in (run.checkpoint, beside):
        path.write_bytes(b"state")
    run.finish(Outcome.STOPPED)
    assert run.checkpoint.exists()
    runs.resume(runs.find("r1")).finish(Outcome.SUCCEEDED)
    assert not run.checkpoint.exists()
    assert not beside.exists()


# Values and facts


@pytest.mark.parametrize("text", [CONFIG, template("discs")])
def test_a_configuration_reads_back_from_its_record(text: str) -> None:
    made = parse_config(text, "test")
    values = json.loads(json.dumps(values_of(made)))
    assert config_of(values, "record") == made
    assert values["train"]["time_budget"].endswith("s")
    assert values["augment"]["shift"].endswith("px")


def test_a_changed_value_is_checked_as_the_file_is() -> None:
    assert changed(config(), {"train.time_budget": "10min"}, "x").train.time_budget == 600
    with pytest.raises(ConfigError, match=r"--time-budget: .*time_budget"):
        changed(config(), {"train.time_budget": "soon"}, "--time-budget")


def log_of(shares: list[float], earlier: dict[int, dict[int, float]] | None = None) -> ShareLog:
    log = ShareLog(earlier)
    for step, share in enumerate(shares, start=1):
        log.add(step, share)
    return log


def test_shares_of_a_training_that_no_clock_ruled_need_not_be_kept() -> None:
    shares = log_of([1 / 3, 2 / 3, 1.0]).shares()
    assert shares is not None
    assert by_steps_alone(shares)
    assert not by_steps_alone([np.array([0.4, 0.7, 1.0])])


def test_a_training_that_went_on_knows_its_first_steps_from_the_record() -> None:
    log = ShareLog({0: {1: 0.2, 2: 0.4, 3: 0.9}})
    for step, share in ((3, 0.6), (4, 1.0)):
        log.add(step, share)
    shares = log.shares()
    assert shares is not None
    assert shares[0].tolist() == [0.2, 0.4, 0.6, 1.0]


def test_a_training_whose_first_steps_nobody_wrote_down_has_no_schedule() -> None:
    log = ShareLog()
    log.add(7, 1.0)
    assert log.shares() is None
    assert log.steps() == [7]


def test_members_of_an_ensemble_keep_their_schedules_apart() -> None:
    log = ShareLog()
    for member in (0, 1):
        for step in (1, 2):
            log.add(step, step / 2, member)
    shares = log.shares()
    assert shares is not None
    assert [one.tolist() for one in shares] == [[0.5, 1.0]] * 2


def test_a_bundle_says_how_it_was_trained(world_files: dict[str, bytes]) -> None:
    trained = how_trained(world_files)
    assert trained.config == config()
    assert trained.facts.threads == 1
    assert trained.facts.steps[0] > 30
    assert trained.facts.hardware == hardware()


def test_a_recorded_schedule_comes_back_bit_for_bit(world_files: dict[str, bytes]) -> None:
    shares = [0.1, 0.30000000000000004, 1.0]
    lineage = archive_lineage(world_files)
    files = training_files(config(), lineage, log_of(shares), dataset="a" * 64, threads=2)
    found = how_trained(files)
    assert found.shares is not None
    assert found.shares[0].tolist() == shares
    assert (found.facts.schedule, found.facts.steps) == ("recorded", [3])


def test_a_bundle_that_says_nothing_of_its_training_is_refused() -> None:
    with pytest.raises(BundleError, match="does not say how it was trained"):
        how_trained({})


@pytest.fixture(scope="module")
def world_files(world: Any) -> dict[str, bytes]:
    return archive.read(world.built.archive)[1]


def archive_lineage(_files: dict[str, bytes]) -> Any:
    from trainer.bundle import Origin, lineage

    return lineage(config(), "a" * 64, Origin())


# Inputs


def test_the_newest_data_set_is_the_one_that_no_other_comes_from(
    stored: tuple[Store, DatasetVersion], tmp_path: Path
) -> None:
    store, version = stored
    copy = Store(tmp_path / "store")
    for item in version.items:
        for name in filter(None, (item.sha256, item.mask)):
            copy.put(store.get(name))
    copy.put_version(version)
    grown = version.model_copy(update={"parent": version.digest(), "reason": "more"})
    copy.put_version(grown)
    assert newest(copy, "discs").digest() == grown.digest()
    copy.put_version(version.model_copy(update={"reason": "another import"}))
    with pytest.raises(DataError, match=r"more than one newest data set.*another import"):
        newest(copy, "discs")
    with pytest.raises(DataError, match="no data set of line other"):
        newest(copy, "other")


def test_a_smoke_sample_has_a_few_parts_of_every_class_on_both_sides(
    stored: tuple[Store, DatasetVersion],
) -> None:
    version = stored[1]
    sample = smoke_sample(version, config())
    assert sample == smoke_sample(version, config())
    assert len(sample.items) < len(version.items) * 0.6
    for side in ("train", "holdout"):
        assert {i.label for i in sample.side(side)} == {"good", "scratch", "stain"}
        assert {i.group for i in sample.side(side)} <= {i.group for i in version.side(side)}


def test_a_smoke_run_fails_a_gate_of_its_own() -> None:
    gates = not_releasable({"gates": {"passed": True, "checks": []}})["gates"]
    assert not gates["passed"]
    assert [check["name"] for check in gates["checks"]] == ["smoke"]


def test_two_runs_are_set_apart_by_what_went_in_and_what_came_out() -> None:
    other = changed(config(), {"train.learning_rate": 0.002}, "x")
    first = record("a", results={"image_auroc": 0.9})
    second = record("b", config=values_of(other), results={"image_auroc": 0.95}, code="loupe 2")
    found = differences(first, second)
    assert found["inputs"] == {
        "train.learning_rate": [0.004, 0.002],
        "code": ["loupe 1", "loupe 2"],
    }
    assert found["results"]["image_auroc"]["difference"] == pytest.approx(0.05)
    assert found["comparable"]
    assert not differences(first, record("c", dataset="b" * 64))["comparable"]


# The commands


def call(*arguments: object, status: int = 0) -> str:
    result = RUNNER.invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout


def test_runs_are_listed_shown_and_compared(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs", ManualClock())
    for name, auroc in (("r1", 0.9), ("r2", 0.8)):
        run = runs.start(record(name))
        run.metric(1, {"loss": 0.5})
        run.finish(Outcome.SUCCEEDED, bundle="b" * 64, results={"image_auroc": auroc})
    listed = json.loads(call("runs", "list", "--store", tmp_path, "--json"))["runs"]
    assert [run["id"] for run in listed] == ["r1", "r2"]
    shown = json.loads(call("runs", "show", "r1", "--store", tmp_path, "--json"))
    assert shown["metrics"][0]["loss"] == 0.5
    assert shown["config"]["train"]["epochs"] == 30
    compared = json.loads(call("runs", "compare", "r1", "r2", "--store", tmp_path, "--json"))
    assert compared["results"]["image_auroc"]["difference"] == pytest.approx(-0.1)
    for arguments in (("list",), ("show", "last"), ("compare", "r1", "r2")):
        assert "r2" in call("runs", *arguments, "--store", tmp_path)


def test_a_smoke_run_needs_one_argument_and_leaves_all_that_is_promised(
    stored: tuple[Store, DatasetVersion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOUPE_STORE", str(stored[0].folder))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "discs.toml").write_text(CONFIG)
    said = json.loads(call("train", "discs.toml", "--smoke", "--json").splitlines()[-1])
    bundle = tmp_path / f"discs-{said['digest'][:12]}.tar"
    manifest, files = archive.read(bundle.read_bytes())
    assert json.loads((tmp_path / "metrics.json").read_text()) == said["evaluation"]
    assert "smoke" in [c["name"] for c in said["evaluation"]["gates"]["checks"] if not c["passed"]]
    assert said["dataset"] == how_trained(files).facts.dataset == stored[1].digest()
    assert manifest.lineage.run == said["run"]
    kept = json.loads(call("runs", "show", said["run"], "--json"))
    assert (kept["outcome"], kept["bundle"]) == ("succeeded", said["digest"])
    assert kept["metrics"][-1]["step"] == how_trained(files).facts.steps[0]


def test_a_killed_training_shows_as_killed_and_goes_on(
    stored: tuple[Store, DatasetVersion], tmp_path: Path
) -> None:
    path, store = tmp_path / "discs.toml", Store(tmp_path / "store")
    path.write_text(CONFIG.replace("epochs = 30", "epochs = 6"))
    copy_of(stored, store)
    command = [sys.executable, "-c", "from trainer.cli import main; main()", "train", str(path), "--store", str(store.folder),
               "--out", str(tmp_path / "b.tar")]  # fmt: skip
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    runs = Runs(store.folder / "runs", ManualClock())
    eventually(
        lambda: any(len(runs.metrics(run.id)) >= 3 for run in runs.all()),
        120,
        "the training takes steps",
    )
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    killed = runs.find("last")
    assert killed.outcome == "killed"
    call("train", path, "--resume", "last", "--store", store.folder)
    done = runs.find(killed.id)
    assert done.outcome == "succeeded"
    assert len(done.resumed_s) == 1
    assert (tmp_path / "b.tar").is_file()
    assert (
        how_trained(archive.read((tmp_path / "b.tar").read_bytes())[1]).facts.schedule != "unknown"
    )


def copy_of(stored: tuple[Store, DatasetVersion], target: Store) -> None:
    store, version = stored
    for item in version.items:
        for name in filter(None, (item.sha256, item.mask)):
            target.put(store.get(name))
    target.put_version(version)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train"], "no configuration was named"),
        (["train", "--resume", "gone"], "no run is called"),
        (["train", "--resume", "r", "--smoke"], "takes everything else from the run"),
        (["train", "{config}", "--time-budget", "soon"], "--time-budget"),
        (["runs", "show", "gone"], "no run is called"),
    ],
)
def test_a_mistake_is_one_message(
    arguments: list[str], said: str, stored: tuple[Store, DatasetVersion], tmp_path: Path
) -> None:
    path = tmp_path / "discs.toml"
    path.write_text(CONFIG)
    filled = [argument.replace("{config}", str(path)) for argument in arguments]
    result = RUNNER.invoke(app, [*filled, "--store", str(stored[0].folder)])
    assert said in str(result.exception)


def test_a_run_goes_on_only_with_the_configuration_that_it_began_with(
    stored: tuple[Store, DatasetVersion],
) -> None:
    from trainer.runs.session import plan, plan_again

    made = plan(config(), stored[1], Order(time_budget="10min"))
    begun = record("r", dataset=stored[1].digest(), config=values_of(made.config), order=made.order,
                   config_digest=made.config.digest())  # fmt: skip
    assert plan_again(begun, stored[0], config()).config == made.config
    other = changed(config(), {"train.seed": 5}, "x")
    with pytest.raises(ConfigError, match="not the one that run r began with"):
        plan_again(begun, stored[0], other)
