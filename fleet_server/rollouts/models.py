"""Rollouts, their devices and decisions, and what every device is assigned."""

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class Rollout(SQLModel, table=True):
    """A release on its way; a terminal state never changes."""

    id: int | None = Field(default=None, primary_key=True)
    line: str = Field(index=True)
    digest: str = Field(index=True)
    champion: str | None = None
    """The bundle that it replaces, and goes back to."""
    plan: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    """`fleet_server.rollouts.plan.Plan`."""
    state: str = Field(default="draft", index=True)
    """`fleet_server.rollouts.machine.RolloutState`."""
    stage: int = 0
    """Index into the plan's stages."""
    stage_started_at: float | None = None
    attempt: int = 1
    """Grows with every rollout of the same digest: a device never takes a failed one again."""
    revert_attempt: int | None = None
    """The attempt under which the champion was assigned again."""
    reason: str = ""
    """Why it ended, or is paused."""
    created_at: float
    created_by: str
    ended_at: float | None = None


class RolloutDevice(SQLModel, table=True):
    """How far one device of a rollout is."""

    rollout: int = Field(primary_key=True)
    device: str = Field(primary_key=True)
    slot: str
    """shadow, canary or active."""
    stage: int
    """Stage in which it got this slot."""
    assigned_at: float
    state: str = "assigned"
    """assigned, then the device's update state (fetching, ..., shadow, committed), failed or silent."""
    failure: str = ""
    """Class of the failure; `silent` for a device that did not report in time."""
    reason: str = ""
    last_event: int = 0
    """The last event row that was looked at."""
    updated_at: float


class GateDecision(SQLModel, table=True):
    """One judgement on one stage, with the numbers that it was made on."""

    id: int | None = Field(default=None, primary_key=True)
    rollout: int = Field(index=True)
    stage: int
    at: float
    decision: str
    """promote, hold, roll_back."""
    text: str
    numbers: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class AssignmentRow(SQLModel, table=True):
    """What a device is to run for a line; the director's metadata are published from these rows."""

    device: str = Field(primary_key=True)
    line: str = Field(primary_key=True)
    digest: str
    length: int
    slot: str
    share: float | None = None
    """Of the device's parts that a canary judges; None: all."""
    rollout: str
    attempt: int
    changed_at: float
