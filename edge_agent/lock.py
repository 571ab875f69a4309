"""One agent a data folder: a lock that ends with the process, however it ends."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO

from fleet_contract.errors import ResourceError


def take_lock(folder: Path) -> IO[str]:
    """Held until the file is closed. Raises ResourceError where another agent holds it."""
    path = folder / "agent.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="ascii")
    except OSError as error:
        raise ResourceError(f"the data folder {folder} cannot be used: {error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise ResourceError(
            f"another agent works in {folder} (process {owner})",
            remedy="One agent a data folder: stop that one, or give this one a folder of its own.",
        ) from error
    # Who holds it is a courtesy: on a full disk the lock alone must do.
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), str(os.getpid()).encode())
    return file


def is_locked(folder: Path) -> bool:
    """Whether an agent runs in this folder."""
    path = folder / "agent.lock"
    if not path.exists():
        return False
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
