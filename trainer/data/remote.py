"""Brings a dataset version from a server into the local store, every byte checked."""

from collections.abc import Callable
from typing import Protocol

from fleet_contract.dataset import DatasetVersion, parse_version
from fleet_contract.errors import TransferError
from trainer.data.store import Store, objects_of


class Source(Protocol):
    """Where versions and objects come from."""

    def dataset(self, digest: str) -> bytes:
        """JSON of a version."""

    def blob(self, sha256: str) -> bytes:
        """Bytes of an object."""


def fetch_version(
    source: Source, store: Store, digest: str, tick: Callable[[int, int], bool]
) -> DatasetVersion | None:
    """The version, its missing objects downloaded; None where `tick(done, total)` says to stop.

    Raises TransferError for bytes that are not those of their digest.
    """
    version = parse_version(source.dataset(digest))
    if version.digest() != digest:
        raise TransferError("the server sent another dataset than asked for",
                            expected=digest[:12], found=version.digest()[:12])  # fmt: skip
    wanted = dict.fromkeys(name for item in version.items for name in objects_of(item))
    missing = [name for name in wanted if not store.has(name)]
    for index, name in enumerate(missing):
        if tick(index, len(missing)):
            return None
        found = store.put(source.blob(name))
        if found != name:
            raise TransferError("the server sent other bytes than asked for",
                                expected=name[:12], found=found[:12])  # fmt: skip
    store.put_version(version)
    return version
