"""Durable floors of a device's trust: versions and a time that it has verified and never goes below.

The TUF client replaces its metadata without fsync and ignores what it finds corrupt, and so can
forget which version it had seen. This file, written whole and fsynced, cannot.
"""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet_contract.archive import sync_directory, write_durable
from fleet_contract.errors import TrustError
from fleet_contract.messages import first_problem

FLOOR = "floor.json"


class RoleFloor(BaseModel):
    """The highest version of one role that was verified, and the keys that vouched for it then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1)
    keys: tuple[str, ...]
    """Sorted key ids. A root that names other keys lifts the floor: so TUF recovers from a thief
    who signed a very high version (specification 5.3.11); the root itself has no such way out."""


class Floors(BaseModel):
    """What is in `floor.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: int = 1
    time_s: float = 0.0
    """Latest signed time that was verified, in seconds since 1970."""
    roles: dict[str, RoleFloor] = Field(default_factory=dict)
    """By `repository/role`."""

    def check(self, role: str, version: int, keys: tuple[str, ...]) -> None:
        """Raises TrustError where `version` of `role` lies below what was verified before."""
        floor = self.roles.get(role)
        if floor and floor.keys == keys and version < floor.version:
            repository, _, name = role.partition("/")
            raise TrustError(
                f"older metadata was offered by the {repository} repository: "
                f"{name} version {version} after {floor.version}",
                remedy="A replay, or the server was restored from an old backup.",
            )

    def raised(self, role: str, version: int, keys: tuple[str, ...]) -> "Floors":
        """With the floor of `role` at `version`, or where it was if that is higher."""
        before = self.roles.get(role)
        if before and before.keys == keys and before.version >= version:
            return self
        return self.model_copy(
            update={"roles": {**self.roles, role: RoleFloor(version=version, keys=keys)}}
        )

    def at_least(self, time_s: float) -> "Floors":
        """With the time floor at `time_s`, or where it was if that is later."""
        return self.model_copy(update={"time_s": max(self.time_s, time_s)})


def read_floors(folder: Path) -> Floors:
    """The floors in `folder`; none where the device never verified anything.

    Raises TrustError for a file that cannot be read: going on without it would accept a replay.
    """
    try:
        return Floors.model_validate_json((folder / FLOOR).read_bytes())
    except FileNotFoundError:
        return Floors()
    except (OSError, ValidationError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise TrustError(
            f"{folder / FLOOR} cannot be read: {problem}",
            remedy="Enrol the device again, or restore the file.",
        ) from error


def write_floors(folder: Path, floors: Floors) -> None:
    """Replaces the file as a whole; durable when this returns."""
    partial = folder / f"{FLOOR}.partial"
    write_durable(partial, json.dumps(floors.model_dump(mode="json"), sort_keys=True).encode())
    partial.replace(folder / FLOOR)
    sync_directory(folder)
