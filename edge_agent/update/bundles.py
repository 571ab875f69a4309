"""Bundles on the device's disk: `incoming/` while they arrive, `bundles/{digest}/` once unpacked."""

import errno
import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet_contract import archive
from fleet_contract.errors import BundleError, LoupeError, ResourceError

log = logging.getLogger(__name__)


class DiskFullError(ResourceError):
    """No space for a bundle; what was written of it is gone again."""


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turns a full disk into DiskFullError, and any other disk error into ResourceError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFullError(
                f"no space on the disk for {what}", remedy="Free space, then assign it again."
            ) from error
        raise ResourceError(f"{what}: {error}") from error


class BundleStore:
    """Folders below the agent's data folder."""

    def __init__(self, folder: Path, reserve_bytes: int) -> None:
        self.incoming = folder / "incoming"
        self._bundles = folder / "bundles"
        self._reserve = reserve_bytes
        for part in (self.incoming, self._bundles):
            part.mkdir(parents=True, exist_ok=True)

    def folder(self, digest: str) -> Path:
        """Where that bundle lies, or would."""
        return self._bundles / digest

    def archive_path(self, digest: str) -> Path:
        """Where the verified archive lies until it is unpacked."""
        return self.incoming / f"{digest}.tar"

    def intact(self, digest: str) -> bool:
        """Whether the bundle is unpacked here, byte by byte as it was signed."""
        try:
            self.check(digest)
        except LoupeError:
            return False
        return True

    def check(self, digest: str) -> None:
        """Raises BundleError where what lies here is not what was signed."""
        if archive.folder_digest(self.folder(digest)) != digest:
            raise BundleError(f"bundle {digest[:12]} was changed after it was unpacked")

    def check_space(self, needed: int) -> None:
        """Raises DiskFullError where `needed` bytes would eat into the reserve."""
        free = shutil.disk_usage(self.incoming).free
        if free < needed + self._reserve:
            raise DiskFullError(
                "no space on the disk for the bundle",
                expected=f"{needed + self._reserve} bytes free",
                found=f"{free}",
                remedy="Free space, then assign it again.",
            )

    def save_archive(self, digest: str, data: bytes) -> None:
        """Keeps the verified archive. Raises DiskFullError."""
        path = self.archive_path(digest)
        partial = path.with_suffix(".partial")
        with disk_errors("the bundle's archive"), _removed_on_error(partial):
            archive.write_durable(partial, data)
            partial.rename(path)
            archive.sync_directory(path.parent)

    def unpack(self, digest: str) -> None:
        """From the archive to `folder(digest)`. Raises BundleError, DiskFullError."""
        if self.intact(digest):
            return
        folder = self.folder(digest)
        shutil.rmtree(folder, ignore_errors=True)
        with disk_errors("the bundle's archive"):
            data = self.archive_path(digest).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise BundleError("the archive was changed after it was verified")
        partial = folder.with_name(folder.name + ".partial")
        with disk_errors("the unpacked bundle"), _removed_on_error(partial):
            archive.unpack(data, folder)

    def clean(self, needed: set[str], arriving: set[str]) -> None:
        """Removes bundles that no slot and no update needs, and files that are not `arriving`.

        What a failing disk does not let go of stays until the next time.
        """
        try:
            for path in self._bundles.iterdir():
                if path.name not in needed:
                    shutil.rmtree(path, ignore_errors=True)
            for path in self.incoming.iterdir():
                if path.name.split(".")[0] not in arriving:
                    path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("what is no longer needed cannot be removed: %s", error)


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    # The space that a failed attempt took is given back at once.
    try:
        yield
    except BaseException:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        raise
