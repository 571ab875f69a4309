"""Releases and their wire encodings."""

from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel


def _json() -> Any:
    return Column(JSON, nullable=False)


class Release(SQLModel, table=True):
    """A bundle that was submitted; its archive lies in the store under its digest."""

    digest: str = Field(primary_key=True)
    """SHA-256 of the uncompressed archive."""
    line: str = Field(index=True)
    state: str = Field(default="built", index=True)
    """`fleet_server.releases.rules.ReleaseState`."""
    length: int
    """Bytes of the uncompressed archive."""
    epoch: int
    hardware: list[str] = Field(default_factory=list, sa_column=_json())
    describe: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    """The few facts that lists and approvals show."""
    evaluation: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    """The bundle's own evaluation report."""
    lineage: dict[str, Any] = Field(default_factory=dict, sa_column=_json())
    encodings: list[dict[str, Any]] = Field(default_factory=list, sa_column=_json())
    """`fleet_contract.trust.custom.Encoding`s."""
    run: str | None = Field(default=None, index=True)
    draft: str | None = None
    """The image repository's next list of targets with this bundle, and the signatures so far."""
    signed_by: list[str] = Field(default_factory=list, sa_column=_json())
    """Key ids of good signatures."""
    threshold: int = 2
    created_at: float
    created_by: str
    approved_at: float | None = None
    version: int | None = None
    """Version of the published list of targets that brought it in."""
    refused_by: str | None = None
    refused_reason: str = ""


class EncodingRow(SQLModel, table=True):
    """One wire encoding; it and the list of its block hashes lie in the store by their digests."""

    digest: str = Field(primary_key=True)
    bundle: str = Field(index=True)
    kind: str
    length: int
    block_size: int
    hashes_digest: str
