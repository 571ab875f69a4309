"""What is written down of a run: `run.json` at its start and end, a line of figures after each step."""

from enum import StrEnum
from typing import Any, Literal, Protocol

from pydantic import Field, ValidationError

from fleet_contract.errors import DataError
from fleet_contract.messages import first_problem
from fleet_contract.names import Digest, LineName
from trainer.runs.machine import Fact, Hardware, Process, is_alive


class Recorder(Protocol):
    """Takes a run's figures as they come."""

    def metric(self, step: int, values: dict[str, float]) -> None:
        """Figures after `step` (from 1): `share`, `loss`, `learning_rate`, ..., and `member` (from 0)
        of an ensemble, whose steps are counted anew."""

    def shares(self) -> dict[int, dict[int, float]]:
        """By member, the share that was done after each step before the run went on."""


class Outcome(StrEnum):
    """How a run ended."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    NOT_CONVERGED = "not_converged"
    KILLED = "killed"
    """Never written: its process is gone, and it did not say how it ended."""


MAY_GO_ON = frozenset((Outcome.STOPPED, Outcome.KILLED, Outcome.FAILED))
"""Runs that may be resumed."""


class Ancestry(Fact):
    """What a run comes from."""

    champion: Digest | None = None
    incident: str = ""
    dataset_parent: Digest | None = None
    bundle_parent: Digest | None = None
    """The bundle whose weights the training went on from."""


class Order(Fact):
    """What the run was told beyond the line's file; paths are absolute."""

    time_budget: str = ""
    """In place of the file's."""
    smoke: bool = False
    folds: int = 0
    """Cross-validation beside the training; 0: none."""
    champion: str = ""
    out: str = ""
    """The bundle's file; empty: named after its digest, in `folder`."""
    metrics: str = ""
    """The evaluation's file; empty: beside the bundle."""
    folder: str = ""
    """Where the command was called."""


class Record(Fact):
    """`run.json`."""

    v: Literal[1] = 1
    id: str
    line: LineName
    outcome: Outcome
    error: str = ""
    started_s: float
    ended_s: float | None = None
    resumed_s: list[float] = Field(default_factory=list)
    """When it went on after a kill or a stop."""
    dataset: Digest
    order: Order = Order()
    config: dict[str, Any]
    """The whole configuration with units, see `trainer.runs.values`."""
    config_digest: Digest
    seed: int
    code: str
    environment: dict[str, str] = Field(default_factory=dict)
    """Versions of what trained it."""
    hardware: Hardware
    process: Process
    lineage: Ancestry = Ancestry()
    bundle: Digest | None = None
    artefacts: dict[str, str] = Field(default_factory=dict)
    """Name to path: `bundle`, `metrics`."""
    results: dict[str, Any] = Field(default_factory=dict)
    """The evaluation's headline figures."""

    def seen(self) -> "Record":
        """As it is now: one that runs no more without having ended is `killed`."""
        if self.outcome is Outcome.RUNNING and not is_alive(self.process):
            return self.model_copy(update={"outcome": Outcome.KILLED})
        return self


def parse_record(data: bytes, source: str) -> Record:
    """The record in JSON `data`. Raises DataError that names `source` and the field."""
    try:
        return Record.model_validate_json(data)
    except ValidationError as error:
        raise DataError(f"{source} is no run's record: {first_problem(error)}") from error


HEADLINES = ("image_auroc", "image_ap", "pixel_ap", "aupro_30", "aupro_05", "f1", "size_bytes")
_RATES = ("escape", "overkill")


def headline(evaluation: dict[str, Any], comparison: dict[str, Any]) -> dict[str, Any]:
    """The figures of an evaluation that lists and comparisons show."""
    found = {name: evaluation[name] for name in HEADLINES if name in evaluation}
    for name in _RATES:
        if name in evaluation:
            found[name] = evaluation[name]["rate"]
    if "latency_ms" in evaluation:
        found["latency_p99_ms"] = evaluation["latency_ms"]["p99"]
    if "gates" in evaluation:
        found["gates_passed"] = evaluation["gates"]["passed"]
    if comparison:
        found["comparison"] = comparison["outcome"]
    return found
