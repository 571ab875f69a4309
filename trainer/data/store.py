"""A content-addressed folder: images and masks by SHA-256, dataset versions by digest."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

from fleet_contract.dataset import DatasetItem, DatasetVersion, parse_version
from fleet_contract.errors import DataError
from trainer.data.lineage import check_holdout

_STATISTICS = ".stats.json"


class Store:
    """Below `folder`, made where it is missing: `objects/<sha256>`, `versions/<digest>.json`, and
    beside it `<digest>.stats.json`."""

    def __init__(self, folder: Path) -> None:
        self._objects, self._versions = folder / "objects", folder / "versions"
        for path in (self._objects, self._versions):
            path.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def put(self, data: bytes) -> str:
        """Stores bytes; returns their SHA-256. Bytes that are there already are left alone."""
        name = hashlib.sha256(data).hexdigest()
        _write(self._objects / name, data)
        return name

    def has(self, sha256: str) -> bool:
        """Whether the store holds that object."""
        return (self._objects / sha256).is_file()

    def get(self, sha256: str) -> bytes:
        """The bytes of an object. Raises DataError where it is missing or was changed."""
        try:
            data = (self._objects / sha256).read_bytes()
        except FileNotFoundError as error:
            raise DataError(
                f"the store has no object {sha256[:12]}",
                expected=f"a file in {self._objects}",
                remedy="Import the images again, into this store.",
            ) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DataError(
                f"object {sha256[:12]} in {self._objects} was changed after it was stored",
                remedy="Remove the file and import the images again.",
            )
        return data

    def put_version(self, version: DatasetVersion) -> str:
        """Stores a version; returns its digest.

        Raises DataError where an object is missing, or where it trains on what its parents hold
        out, as far as they are in this store.
        """
        for item in version.items:
            for name in objects_of(item):
                if not self.has(name):
                    raise DataError(f"{item.source or item.sha256} is not in the store",
                                    expected=f"object {name[:12]}")  # fmt: skip
        check_holdout(version, self.find)
        digest = version.digest()
        _write(self._versions / f"{digest}.json", version.canonical())
        return digest

    def digests(self) -> list[str]:
        """Digests of all versions, sorted."""
        names = (path.name for path in self._versions.glob("*.json"))
        return sorted(n.removesuffix(".json") for n in names if not n.endswith(_STATISTICS))

    def find(self, digest: str) -> DatasetVersion | None:
        """The version of that whole digest; None where the store does not hold it."""
        return self.version(digest) if (self._versions / f"{digest}.json").is_file() else None

    def put_statistics(self, digest: str, data: bytes) -> None:
        """Stores what was computed of a version, in place of what was stored before."""
        _replace(self._versions / f"{digest}{_STATISTICS}", data)

    def statistics(self, digest: str) -> bytes | None:
        """What `put_statistics` stored; None before."""
        path = self._versions / f"{digest}{_STATISTICS}"
        return path.read_bytes() if path.is_file() else None

    def version(self, digest: str) -> DatasetVersion:
        """The version of that digest, or of a unique beginning of it (8 characters or more).

        Raises DataError where there is none, or more than one.
        """
        if not re.fullmatch(r"[0-9a-f]{8,64}", digest):
            raise DataError("not a dataset's digest", expected="8 to 64 hexadecimal digits",
                            found=repr(digest[:80]))  # fmt: skip
        found = [name for name in self.digests() if name.startswith(digest)]
        if len(found) != 1:
            raise DataError(
                f"the store has {'no' if not found else 'more than one'} dataset {digest[:12]}",
                expected=f"one file in {self._versions}",
                found=", ".join(name[:12] for name in self.digests()[:8]) or "no dataset at all",
                remedy="Take the digest that `loupe-trainer import` printed.",
            )
        version = parse_version((self._versions / f"{found[0]}.json").read_bytes())
        if version.digest() != found[0]:
            raise DataError(f"dataset {digest[:12]} was changed after it was stored")
        return version


def objects_of(item: DatasetItem) -> list[str]:
    """SHA-256 of the image and, where there is one, the mask of an item."""
    return [item.sha256] if item.mask is None else [item.sha256, item.mask]


def _write(path: Path, data: bytes) -> None:
    if not path.exists():
        _replace(path, data)


def _replace(path: Path, data: bytes) -> None:
    # Written aside and renamed: a file under its digest is complete or not there.
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    Path(partial).rename(path)
