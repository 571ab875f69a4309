"""What was sent to devices, measured."""

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class Push(SQLModel, table=True):
    """One wave of one wire encoding: a broadcast, and what was asked for one by one after it."""

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(index=True)
    """Digest of the wire encoding."""
    bundle: str = Field(index=True)
    line: str
    length: int
    """Bytes of the encoding."""
    joined: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    """Devices that the broadcast was for."""
    opened_at: float
    """First device joined."""
    started_at: float | None = None
    finished_at: float | None = None
    """Last block of the broadcast was handed to the broker."""
    bytes_broadcast: int = 0
    bytes_unicast: int = 0
    """Blocks that devices asked for one by one, after the broadcast or without one."""
    unicast: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    """Device -> bytes."""
