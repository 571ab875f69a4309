"""Samples with their labels, and dataset versions."""

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class Sample(SQLModel, table=True):
    """An image that a device chose for review, or was asked for."""

    sample_id: str = Field(primary_key=True)
    device: str = Field(primary_key=True)
    spool_id: str
    line: str = Field(index=True)
    camera: str
    part: int
    """Trigger number of the part."""
    why: str
    verdict: str
    score: float | None = None
    digest: str | None = None
    candidate_digest: str | None = None
    candidate_verdict: str | None = None
    candidate_score: float | None = None
    blob: str
    """SHA-256 of the PNG in the store."""
    length: int
    heat_map: str | None = None
    """SHA-256 of a grey PNG in the store: the defect map over the image."""
    time_s: float
    """By the device's clock."""
    received_at: float = Field(index=True)
    incident: int | None = Field(default=None, index=True)
    label: str | None = None
    labelled_by: str | None = None
    labelled_at: float | None = None
    dataset: str | None = None
    """Digest of the first dataset version that holds its image; None: a label that is new."""


class DatasetRow(SQLModel, table=True):
    """A dataset version; its JSON lies in the store under its digest."""

    digest: str = Field(primary_key=True)
    line: str = Field(index=True)
    parent: str | None = None
    reason: str
    channels: int
    train: int
    holdout: int
    created_at: float
    counts: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    """`fleet_server.labels.counts.Counts` of its items."""
