"""Training runs and their logs."""

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class TrainingRun(SQLModel, table=True):
    """One training run; what it trains from is frozen when it is queued."""

    id: str = Field(primary_key=True)
    line: str = Field(index=True)
    state: str = Field(default="queued", index=True)
    """queued, leased, succeeded, failed, cancelled."""
    dataset: str
    champion: str | None = None
    incident: int | None = None
    config: str
    epoch: int
    requested_by: str
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


class RunLog(SQLModel, table=True):
    """One line that a worker wrote."""

    id: int | None = Field(default=None, primary_key=True)
    run: str = Field(index=True)
    at: float
    text: str
