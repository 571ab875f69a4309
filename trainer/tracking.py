"""The same run in an MLflow tracking store, where a team keeps its runs there. Optional: `[mlflow]`."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fleet_contract.clock import Clock
from fleet_contract.errors import ConfigError, ResourceError
from trainer.runs.record import Outcome, Record
from trainer.runs.values import flat

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

_EVERY_S = 5.0
"""Between two deliveries of figures."""
_BATCH = 500
"""Figures in a call; MLflow takes 1000 at most."""
_PARAMS = 100
"""Parameters in a call: MLflow's limit."""
_LONGEST_PARAM = 6000
_ENDS = {
    Outcome.SUCCEEDED: "FINISHED",
    Outcome.STOPPED: "KILLED",
    Outcome.FAILED: "FAILED",
    Outcome.NOT_CONVERGED: "FAILED",
}


class Tracker:
    """One run in the store at `uri`; a Recorder's `metric` beside that of the run's own record.

    A store that goes away while the training runs costs no training: the figures wait, and are
    delivered when it is back, or given up with a warning at the end.
    """

    def __init__(self, uri: str, record: Record, clock: Clock) -> None:
        """Begins the run there. Raises ConfigError without MLflow or with an address that is none,
        ResourceError where the store does not answer."""
        self._client, self._errors = _client(uri)
        self._clock, self._waiting, self._sent_s = clock, list["Metric"](), clock.monotonic()
        try:
            self.id = self._begin(record, uri)
        except self._errors as error:
            raise ResourceError(f"MLflow at {uri} does not take the run: {_short(error)}",
                                remedy="Correct --mlflow, or train without it.") from error  # fmt: skip

    def metric(self, step: int, values: dict[str, float]) -> None:
        """Takes the figures after a step; delivers them every few seconds."""
        from mlflow.entities import Metric

        now_ms = int(self._clock.time() * 1000)
        self._waiting += [Metric(name, value, now_ms, step) for name, value in values.items()]
        if self._clock.monotonic() - self._sent_s >= _EVERY_S:
            self._deliver()

    def finish(self, record: Record, files: list[Path]) -> None:
        """Delivers what waits, the headline figures, `files` as artefacts, and how the run ended."""
        self._deliver()
        try:
            self._end(record, files)
        except self._errors as error:
            log.warning("MLflow did not take the end of run %s: %s", record.id, _short(error))

    def _begin(self, record: Record, uri: str) -> str:
        found = self._client.get_experiment_by_name(record.line)
        experiment = (
            found.experiment_id
            if found is not None
            else self._client.create_experiment(record.line, artifact_location=_artifacts(uri))
        )
        tags = {"loupe.run": record.id, "loupe.dataset": record.dataset, "loupe.code": record.code,
                "mlflow.runName": record.id}  # fmt: skip
        started_ms = int(record.started_s * 1000)
        run = str(self._client.create_run(experiment, started_ms, tags).info.run_id)
        self._parameters(run, record)
        return run

    def _parameters(self, run: str, record: Record) -> None:
        from mlflow.entities import Param

        values = {**flat(record.config), "dataset": record.dataset, "smoke": record.order.smoke,
                  "config_digest": record.config_digest, "hardware": record.hardware.processor}  # fmt: skip
        params = [Param(name, str(value)[:_LONGEST_PARAM]) for name, value in values.items()]
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(run, params=params[start : start + _PARAMS])

    def _deliver(self) -> None:
        self._sent_s = self._clock.monotonic()
        try:
            while self._waiting:
                self._client.log_batch(self.id, metrics=self._waiting[:_BATCH])
                del self._waiting[:_BATCH]
        except self._errors as error:
            log.warning("MLflow does not take figures, they wait: %s", _short(error))

    def _end(self, record: Record, files: list[Path]) -> None:
        for name, value in record.results.items():
            if isinstance(value, int | float):
                self._client.log_metric(self.id, name, float(value))
        tags = {"loupe.outcome": str(record.outcome), "loupe.bundle": record.bundle or ""}
        if record.error:
            tags["loupe.error"] = record.error
        for key, text in tags.items():
            self._client.set_tag(self.id, key, text)
        for path in files:
            if path.is_file():
                self._client.log_artifact(self.id, str(path))
        ended_ms = None if record.ended_s is None else int(record.ended_s * 1000)
        self._client.set_terminated(self.id, _ENDS[record.outcome], ended_ms)


def _client(uri: str) -> "tuple[MlflowClient, tuple[type[Exception], ...]]":
    """A client, and what it raises where the store does not take something."""
    # Before the import: MLflow reports its use to its makers otherwise.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # Its own patience is minutes; a training must not stand still for a store.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise ConfigError("MLflow is not installed",
                          remedy="Install loupe with the extra [mlflow].") from error  # fmt: skip
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    errors: tuple[type[Exception], ...] = (MlflowException, OSError)
    try:
        return MlflowClient(uri), errors
    except errors as error:
        raise ConfigError(f"--mlflow {uri!r} is no tracking store: {_short(error)}",
                          expected="http://HOST:PORT or sqlite:///FILE") from error  # fmt: skip


def _artifacts(uri: str) -> str | None:
    """Where artefacts go: a server decides for itself, a database file keeps them beside it."""
    parts = urlsplit(uri)
    if parts.scheme != "sqlite":
        return None
    return (Path(parts.path.removeprefix("/")).absolute().parent / "mlflow-artefacts").as_uri()


def _short(error: Exception) -> str:
    lines: list[Any] = str(error).splitlines()
    return str(lines[0])[:300] if lines else type(error).__name__
