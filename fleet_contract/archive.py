"""A bundle's archive: a deterministic, uncompressed tar (ustar) whose SHA-256 is the bundle's digest.

Members: `manifest.json` first, then the files that it lists, sorted. Mode 0644, owner 0, time 0.
Unpacking trusts nothing: names, kinds, sizes and digests are checked before a byte is used.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleet_contract.errors import BundleError
from fleet_contract.manifest import MANIFEST, MAX_FILES, FileEntry, Manifest, parse_manifest

MAX_MANIFEST_BYTES = 4 * 2**20


def file_entries(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    """The manifest's list of `files`."""
    return {
        name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        for name, data in sorted(files.items())
    }


def pack(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """The archive; same input, same bytes. Raises BundleError where `files` are not those listed."""
    if file_entries(files) != manifest.files:
        raise BundleError("files differ from those that the manifest lists")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, MANIFEST, manifest.model_dump_json(indent=1).encode())
        for name in sorted(files):
            _add(tar, name, files[name])
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))


def digest(archive: bytes) -> str:
    """The bundle's digest: SHA-256 of the archive, lower-case hex."""
    return hashlib.sha256(archive).hexdigest()


def read(archive: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """Manifest and files of an archive in memory, all checked.

    Raises BundleError for a truncated archive, a name that climbs out, a member that is no regular
    file, a file that is not listed or missing, or bytes that differ from their digest.
    """
    members = dict(_members(archive))
    if MANIFEST not in members:
        raise BundleError("the archive has no manifest.json", remedy="Pack it again.")
    manifest = parse_manifest(members.pop(MANIFEST))
    if members.keys() != manifest.files.keys():
        odd = sorted(members.keys() ^ manifest.files.keys())
        raise BundleError("files and manifest differ", found=", ".join(odd[:5]))
    for name, entry in manifest.files.items():
        data = members[name]
        if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(f"{name} is not the file that the manifest lists")
    return manifest, members


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(
            fileobj=io.BytesIO(archive), mode="r:", format=tarfile.USTAR_FORMAT
        ) as tar:
            seen: set[str] = set()
            for info in tar:
                _check_member(info, seen)
                file = tar.extractfile(info)
                data = file.read() if file else b""
                if len(data) != info.size:
                    raise BundleError(f"the archive ends inside {info.name}")
                yield info.name, data
            _check_end(archive, tar.offset)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise BundleError(
            f"not a bundle's archive: {error}", remedy="Fetch or pack it again."
        ) from error


def _check_member(info: tarfile.TarInfo, seen: set[str]) -> None:
    parts = info.name.split("/")
    if info.name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise BundleError(
            f"the archive has a path that climbs out: {info.name!r}",
            remedy="Do not trust where it came from.",
        )
    if not info.isreg():
        raise BundleError(f"{info.name} is not a regular file")
    if info.name in seen:
        raise BundleError(f"{info.name} stands twice in the archive")
    if info.name == MANIFEST and info.size > MAX_MANIFEST_BYTES:
        raise BundleError("manifest.json is too large", found=f"{info.size} bytes")
    seen.add(info.name)
    if len(seen) > MAX_FILES + 1:
        raise BundleError(f"more than {MAX_FILES} files")


def _check_end(archive: bytes, end: int) -> None:
    # tar ends with two zero blocks; without them the archive was cut off between two members.
    if len(archive) % tarfile.RECORDSIZE or archive[end:].strip(b"\0"):
        raise BundleError("the archive is cut off or has bytes after its end")


def unpack(archive: bytes, folder: Path) -> Manifest:
    """Writes manifest and files below `folder` (new, complete and fsynced, or not there at all)."""
    manifest, files = read(archive)
    partial = folder.with_name(folder.name + ".partial")
    _remove_tree(partial)
    for name, data in {MANIFEST: archive_manifest(archive), **files}.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durable(path, data)
    for directory in [d for d in partial.rglob("*") if d.is_dir()] + [partial]:
        sync_directory(directory)
    partial.rename(folder)
    sync_directory(folder.parent)
    return manifest


def folder_digest(folder: Path) -> str:
    """The digest of the archive that `folder` holds, over every byte of it, the manifest's too.

    Raises BundleError where that cannot be read.
    """
    hashed = _Hashed()
    try:
        manifest = (folder / MANIFEST).read_bytes()
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            _add(tar, MANIFEST, manifest)
            for name in sorted(parse_manifest(manifest).files):
                _add(tar, name, (folder / name).read_bytes())
    except OSError as error:
        raise BundleError(f"bundle {folder.name} cannot be read: {error}") from error
    return hashed.sha256.hexdigest()


class _Hashed(io.RawIOBase):
    """Takes what is written and keeps only its digest: a device has no memory for a second copy."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def write(self, data: Any, /) -> int:
        self.sha256.update(data)
        return len(data)


def archive_manifest(archive: bytes) -> bytes:
    """The bytes of `manifest.json`, the first member."""
    return next(data for name, data in _members(archive) if name == MANIFEST)


def write_durable(path: Path, data: bytes) -> None:
    """Writes and fsyncs a new file."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Makes renames and new names inside `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_tree(path: Path) -> None:
    if path.exists():
        for child in sorted(path.rglob("*"), reverse=True):
            child.rmdir() if child.is_dir() else child.unlink()
        path.rmdir()


def load_folder(folder: Path) -> Manifest:
    """The manifest of an unpacked bundle, every file checked against it. Raises BundleError."""
    try:
        manifest = parse_manifest((folder / MANIFEST).read_bytes())
        for name, entry in manifest.files.items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != entry.sha256:
                raise BundleError(f"{name} in {folder.name} was changed after unpacking")
    except OSError as error:
        raise BundleError(f"bundle {folder.name} cannot be read: {error}") from error
    return manifest
