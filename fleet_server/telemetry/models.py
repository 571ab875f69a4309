"""What devices sent, as stored."""

from typing import Any

from sqlalchemy import JSON, Column, Index, UniqueConstraint
from sqlmodel import Field, SQLModel


def _record_key(name: str) -> UniqueConstraint:
    return UniqueConstraint("device", "spool_id", "number", name=f"{name}_record")


class StreamPosition(SQLModel, table=True):
    """How far one stream of one spool is stored."""

    device: str = Field(primary_key=True)
    spool_id: str = Field(primary_key=True)
    stream: str = Field(primary_key=True)
    contiguous: int = 0
    """Every number up to this one is stored, or was said to be dropped."""
    beyond: list[list[int]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    """Stored intervals [first, last] above `contiguous`, ascending."""
    dropped: int = 0
    """Records that the device's bounded spool dropped."""
    first_seen: float = 0.0


class WindowRow(SQLModel, table=True):
    """One statistics window."""

    __table_args__ = (
        _record_key("window"),
        Index("window_by_line", "line", "device", "start_s"),
    )

    id: int | None = Field(default=None, primary_key=True)
    device: str
    spool_id: str
    number: int
    line: str
    camera: str
    digest: str | None = None
    candidate: str | None = None
    start_s: float
    end_s: float
    received_at: float
    body: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """`fleet_contract.windows.Window`."""


class PartsRow(SQLModel, table=True):
    """A batch of verdicts."""

    __table_args__ = (_record_key("parts"), Index("parts_by_device", "device", "first_part"))

    id: int | None = Field(default=None, primary_key=True)
    device: str
    spool_id: str
    number: int
    line: str
    camera: str
    first_part: int
    last_part: int
    count: int
    accept: int
    reject: int
    no_decision: int
    received_at: float
    body: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    """`PartVerdict`s in the order of their numbers."""


class EventRow(SQLModel, table=True):
    """Something that happened on a device, or that the server says about it (`spool_id` server)."""

    __table_args__ = (_record_key("event"), Index("event_by_device", "device", "id"))

    id: int | None = Field(default=None, primary_key=True)
    device: str
    spool_id: str
    number: int
    kind: str = Field(index=True)
    severity: str
    line: str | None = None
    digest: str | None = Field(default=None, index=True)
    text: str
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    time_s: float
    """By the device's clock."""
    received_at: float
