"""Blobs by digest in a folder: images, masks, bundles, encodings. Written once, never changed."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from fleet_contract.errors import DataError
from fleet_server.errors import NotFoundError, TooLargeError


class Store:
    """A folder of blobs, `ab/abcdef...`, addressed by SHA-256 (lower-case hex, 64 characters)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the blob lies. Raises NotFoundError where it does not."""
        path = self._place(digest)
        if not path.is_file():
            raise NotFoundError(f"no blob {digest} is in the store")
        return path

    def has(self, digest: str) -> bool:
        """Whether the blob is there."""
        return self._place(digest).is_file()

    def read(self, digest: str) -> bytes:
        """The blob. Raises NotFoundError where it is not there."""
        return self.path(digest).read_bytes()

    def put(self, data: bytes) -> str:
        """Stores `data` durably and returns its digest; storing it again changes nothing."""
        with self.writer(limit=len(data)) as writer:
            writer.write(data)
            return writer.finish()

    def writer(self, *, limit: int) -> "BlobWriter":
        """A blob in the making of at most `limit` bytes; nothing is visible before `finish`."""
        return BlobWriter(self, self._incoming, limit)

    def digests(self) -> Iterator[str]:
        """All blobs that are there."""
        for place in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            yield place.name

    def discard(self, digest: str) -> None:
        """Removes a blob, where nothing names it any more."""
        self._place(digest).unlink(missing_ok=True)

    def _place(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise NotFoundError(
                "not a digest", expected="64 lower-case hex digits", found=digest[:80]
            )
        return self.folder / digest[:2] / digest

    def adopt(self, temporary: Path, digest: str) -> None:
        """Moves a finished file to its place, durably."""
        place = self._place(digest)
        place.parent.mkdir(exist_ok=True)
        temporary.rename(place)
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class BlobWriter:
    """Collects a blob in a temporary file; a context manager that leaves nothing behind."""

    def __init__(self, store: Store, folder: Path, limit: int) -> None:
        self._store, self._limit, self._length = store, limit, 0
        self._hash = hashlib.sha256()
        handle, name = tempfile.mkstemp(dir=folder)
        self._path = Path(name)
        self._file = os.fdopen(handle, "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Adds bytes. Raises TooLargeError above the limit."""
        self._length += len(data)
        if self._length > self._limit:
            raise TooLargeError("a blob is too large", expected=f"at most {self._limit} bytes")
        self._hash.update(data)
        self._file.write(data)

    def finish(self, expected: str | None = None) -> str:
        """Makes the blob visible and returns its digest. Raises DataError for another digest."""
        digest = self._hash.hexdigest()
        if expected is not None and digest != expected:
            raise DataError("bytes have another digest", expected=expected, found=digest)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if not self._store.has(digest):
            self._store.adopt(self._path, digest)
        return digest
