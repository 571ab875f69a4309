"""Baselines, what is learned of each camera, and incidents."""

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

GATHERING = ("open", "sampling", "labelling")
"""States of an incident whose samples are still collected and labelled."""


def _json() -> Any:
    return Column(JSON, nullable=False)


class Baseline(SQLModel, table=True):
    """A period that a person accepted as right, per device, line, camera and recipe; frozen."""

    id: int | None = Field(default=None, primary_key=True)
    device: str = Field(index=True)
    line: str
    camera: str
    recipe: str = ""
    state: str = "proposed"
    """proposed, accepted, retired."""
    windows: int
    start_s: float
    end_s: float
    features: dict[str, list[float]] = Field(default_factory=dict, sa_column=_json())
    """Per feature [mean, standard deviation of window means, lag-1 autocorrelation, windows]."""
    score_digest: str | None = None
    """The bundle whose scores `scores` describes: learned anew after every swap."""
    scores: dict[str, list[float]] = Field(default_factory=dict, sa_column=_json())
    proposed_at: float
    accepted_by: str | None = None
    accepted_at: float | None = None


class DriftState(SQLModel, table=True):
    """What is carried from window to window, per device, line, camera and recipe."""

    device: str = Field(primary_key=True)
    line: str = Field(primary_key=True)
    camera: str = Field(primary_key=True)
    recipe: str = Field(default="", primary_key=True)
    baseline: int | None = None
    features: dict[str, list[float]] = Field(default_factory=dict, sa_column=_json())
    """Per feature [s, last value, parts since s left zero]."""
    collected: list[dict[str, Any]] = Field(default_factory=list, sa_column=_json())
    """Windows gathered for the next proposal: {start_s, end_s, values}."""
    score_digest: str | None = None
    score_values: list[dict[str, float]] = Field(default_factory=list, sa_column=_json())
    """Score features gathered for a bundle that the baseline does not know."""
    updated_at: float = 0.0


class DriftCursor(SQLModel, table=True):
    """The last window that was looked at; one row."""

    id: int = Field(default=1, primary_key=True)
    window: int = 0


class Incident(SQLModel, table=True):
    """Something has changed on a device: one a device, line and cause until it is closed."""

    id: int | None = Field(default=None, primary_key=True)
    device: str = Field(index=True)
    line: str
    camera: str
    cause: str
    state: str = Field(default="open", index=True)
    """open, sampling, labelling, training, trained, closed."""
    opened_at: float
    parts_until_alarm: int
    """Parts from where the shift began, by the statistics, to the alarm."""
    evidence: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    note: str = ""
    """What it waits for, for a person."""
    commanded_at: float | None = None
    dataset: str | None = None
    run: str | None = None
    closed_at: float | None = None
    closed_by: str | None = None
    false_alarm: bool = False
