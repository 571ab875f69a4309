"""Private files: complete or not there, readable by their owner alone."""

import os
import tempfile
from pathlib import Path

from fleet_contract.errors import StateError


def write_private(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Writes `data` to `path` with mode 0600, atomically and synced; parents must exist.

    Raises StateError where the file is there already and `replace` is not given: a key that is
    overwritten is a device that is lost.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _put(Path(temporary), path, replace)
    finally:
        Path(temporary).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _put(temporary: Path, path: Path, replace: bool) -> None:
    if replace:
        temporary.replace(path)
        return
    try:
        # A hard link fails where the name is taken, unlike a rename.
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise StateError(
            f"{path} is there already",
            remedy="Nothing was changed. Move it away first if it is really to be replaced.",
        ) from error
