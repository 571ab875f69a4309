"""A checkpoint as one blob: its own files and nothing else go in, and come out."""

import io
import tarfile
from pathlib import Path

import pytest

from fleet_contract.errors import DataError
from trainer import parcel


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    for name in ("checkpoint", "checkpoint.1", "checkpoint.partial", "notes.txt"):
        (before / name).write_bytes(name.encode())
    parcel.unpack(parcel.pack(before), after)
    assert {path.name for path in after.iterdir()} == {"checkpoint", "checkpoint.1"}
    assert (after / "checkpoint.1").read_bytes() == b"checkpoint.1"


def test_a_stamp_changes_with_the_files_alone(tmp_path: Path) -> None:
    assert parcel.stamp(tmp_path) == ()
    (tmp_path / "checkpoint").write_bytes(b"one")
    first = parcel.stamp(tmp_path)
    (tmp_path / "checkpoint.partial").write_bytes(b"half")
    assert parcel.stamp(tmp_path) == first
    (tmp_path / "checkpoint.1").write_bytes(b"two")
    assert parcel.stamp(tmp_path) != first


@pytest.mark.parametrize("name", ["../checkpoint", "/tmp/checkpoint", "other", "checkpoint.1.x"])
def test_another_name_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    buffer, inside = io.BytesIO(), tmp_path / "inside"
    inside.mkdir()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"bad"))
    with pytest.raises(DataError, match="not a checkpoint"):
        parcel.unpack(buffer.getvalue(), inside)
    assert list(tmp_path.rglob("*")) == [inside]


def test_a_link_and_bytes_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("checkpoint")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(entry)
    for data in (buffer.getvalue(), b"step 7", b"\0" * 10):
        with pytest.raises(DataError, match="not a checkpoint"):
            parcel.unpack(data, tmp_path)
    assert list(tmp_path.iterdir()) == []
