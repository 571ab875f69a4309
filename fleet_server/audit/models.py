"""The audit log's table."""

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


class AuditEntry(SQLModel, table=True):
    """One act; `hash` covers the entry and the hash before it."""

    seq: int | None = Field(default=None, primary_key=True)
    at: float
    actor: str
    action: str = Field(index=True)
    subject: str = Field(index=True)
    data: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    previous_hash: str
    hash: str
