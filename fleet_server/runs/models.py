"""Training runs, their logs, and what starts them by itself."""

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class TrainingRun(SQLModel, table=True):
    """One training run; what it trains from is frozen when a worker first leases it."""

    id: str = Field(primary_key=True)
    line: str = Field(index=True)
    state: str = Field(default="queued", index=True)
    """queued, leased, succeeded, failed, cancelled."""
    dataset: str
    champion: str | None = None
    incident: int | None = None
    """The first incident among its causes."""
    config: str
    epoch: int
    requested_by: str
    """Who asked first."""
    causes: list[dict[str, Any]] = Field(
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    """`fleet_server.runs.causes.Cause`s, the first one first."""
    created_at: float
    attempts: int = 0
    worker: str | None = None
    """Who has it, or who ended it."""
    lease_until: float | None = None
    cancel_requested: bool = False
    progress: float = 0.0
    message: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    bundle: str | None = None
    comparison: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    metrics: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    error: str = ""
    checkpoint: str | None = None
    """Digest of where the training last stood; kept while the run is not ended."""
    checkpoint_bytes: int = 0
    checkpoint_at: float | None = None


class RunLog(SQLModel, table=True):
    """One line that a worker wrote."""

    id: int | None = Field(default=None, primary_key=True)
    run: str = Field(index=True)
    at: float
    text: str


class LineTrigger(SQLModel, table=True):
    """Where a line's schedule stands."""

    line: str = Field(primary_key=True)
    schedule: str = ""
    """The text that `since` belongs to; a line with another one begins anew."""
    since: float
    """Its last run by schedule, or when the schedule was first seen: the next is after this."""
    note: str = ""
    """Why the last attempt to start a run by itself came to nothing."""
