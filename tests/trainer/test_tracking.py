"""The same run in a real MLflow store: a SQLite file."""

import logging
import os
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from fleet_contract.clock import ManualClock
from fleet_contract.errors import ConfigError, ResourceError
from tests.trainer.test_runs import record
from trainer.runs.folder import Runs
from trainer.runs.record import Outcome
from trainer.tracking import Tracker


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'runs.db'}"


def test_a_run_is_there_with_parameters_figures_artefacts_and_outcome(
    uri: str, tmp_path: Path
) -> None:
    clock = ManualClock()
    run = Runs(tmp_path, clock).start(record("r1"))
    tracker = Tracker(uri, run.record, clock)
    for step in range(1, 4):
        clock.advance(1)
        tracker.metric(step, {"loss": 1 / step, "share": step / 3})
        run.metric(step, {"loss": 1 / step})
    results = {"image_auroc": 0.97, "gates_passed": True, "comparison": "better"}
    run.finish(Outcome.SUCCEEDED, bundle="b" * 64, results=results)
    tracker.finish(run.record, [run.record_file, run.metrics_file])
    client = MlflowClient(uri)
    kept = client.get_run(tracker.id)
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == "r1"
    assert kept.data.params["train.learning_rate"] == "0.004"
    assert kept.data.params["train.time_budget"] == "60s"
    assert kept.data.params["dataset"] == "a" * 64
    assert kept.data.metrics["image_auroc"] == 0.97
    assert kept.data.tags["loupe.bundle"] == "b" * 64
    history = client.get_metric_history(tracker.id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert {f.path for f in client.list_artifacts(tracker.id)} == {"run.json", "metrics.jsonl"}


def test_figures_are_there_while_the_training_runs(uri: str) -> None:
    clock = ManualClock()
    tracker = Tracker(uri, record("r2"), clock)
    tracker.metric(1, {"loss": 0.7})
    clock.advance(10)
    tracker.metric(2, {"loss": 0.6})
    kept = MlflowClient(uri).get_run(tracker.id)
    assert (kept.info.status, kept.data.metrics["loss"]) == ("RUNNING", 0.6)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("failed", "FAILED"), ("not_converged", "FAILED"), ("stopped", "KILLED")],
)
def test_a_run_that_does_not_succeed_is_not_finished_there_either(
    uri: str, outcome: str, status: str
) -> None:
    tracker = Tracker(uri, record("r3"), ManualClock())
    tracker.finish(record("r3", outcome=outcome, error="why", ended_s=200.0), [])
    kept = MlflowClient(uri).get_run(tracker.id)
    assert (kept.info.status, kept.data.tags["loupe.error"]) == (status, "why")


def test_a_store_that_does_not_answer_is_said_before_the_training() -> None:
    with pytest.raises(ResourceError, match="does not take the run"):
        Tracker("http://127.0.0.1:9", record("r4"), ManualClock())


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no tracking store"):
        Tracker("gopher://x", record("r5"), ManualClock())


def test_a_store_that_goes_away_costs_no_training(
    uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    tracker = Tracker(uri, record("r6"), clock)
    with monkeypatch.context() as away:

        def refuse(*_: object, **__: object) -> None:
            raise ConnectionError("gone")

        away.setattr(MlflowClient, "log_batch", refuse)
        clock.advance(10)
        with caplog.at_level(logging.WARNING):
            tracker.metric(1, {"loss": 0.7})
        assert "they wait" in caplog.text
    tracker.finish(record("r6", outcome="succeeded", ended_s=200.0), [])
    assert MlflowClient(uri).get_run(tracker.id).data.metrics["loss"] == 0.7


def test_it_reports_its_use_to_nobody(uri: str) -> None:
    Tracker(uri, record("r7"), ManualClock())
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
