"""Devices and lines."""

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class Device(SQLModel, table=True):
    """A device: who it is, and what it last said of itself."""

    name: str = Field(primary_key=True)
    certificate_pem: str
    hardware: str = ""
    site: str = ""
    line: str | None = Field(default=None, index=True)
    added_at: float = 0.0
    online: bool = False
    connection_id: str | None = None
    last_seen: float | None = None
    spool_id: str | None = None
    """The spool that it reports from now."""
    clone_since: float | None = None
    """Since when two living spools report under this name; None: one does."""
    last_state_counter: int = 0
    state_payload: str | None = None
    """The signed text of its last accepted state."""
    state: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    """`DeviceState`."""
    heartbeat: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    """`Heartbeat`."""
    bad_messages: int = 0
    """Messages that broke the contract."""
    last_bad: str = ""
    false_alarms: int = 0
    """Incidents that a person closed as no drift at all."""


class Line(SQLModel, table=True):
    """An inspection task: its data, its champion, how it is trained, what rules may do."""

    name: str = Field(primary_key=True)
    training_config: str = ""
    """TOML text, handed to the trainer as it is."""
    policy: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    """`fleet_server.registry.rules.Policy`."""
    champion: str | None = None
    dataset: str | None = None
    epoch: int = 1
    added_at: float = 0.0
