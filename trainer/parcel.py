"""A run's checkpoint as one blob: its file, and those of further members beside it (`NAME.1`, ...)."""

import io
import re
import tarfile
from pathlib import Path

from fleet_contract.errors import DataError

NAME = "checkpoint"
_MEMBER = re.compile(rf"{NAME}(\.[0-9]{{1,3}})?")

Stamp = tuple[tuple[str, int, int], ...]
"""Name, time of the last change in ns and length of each file."""


def stamp(folder: Path) -> Stamp:
    """What the checkpoint's files look like from outside; empty before there is one."""
    found = []
    for path in _files(folder):
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        found.append((path.name, facts.st_mtime_ns, facts.st_size))
    return tuple(found)


def pack(folder: Path) -> bytes:
    """All of them as a tar archive, uncompressed: weights do not shrink."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in _files(folder):
            # Each file is replaced as a whole: what is read is one state or the next.
            data = path.read_bytes()
            entry = tarfile.TarInfo(path.name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Writes the files of `pack` into `folder`. Raises DataError for anything else."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            files = {entry.name: _content(archive, entry) for entry in archive}
    except tarfile.TarError as error:
        raise DataError("not a checkpoint", found=str(error)) from error
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry) if entry.isreg() else None
    if file is None or not _MEMBER.fullmatch(entry.name):
        raise DataError("not a checkpoint", found=f"an entry {entry.name[:80]!r}")
    return file.read()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _MEMBER.fullmatch(path.name))
