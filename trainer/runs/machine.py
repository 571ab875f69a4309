"""The machine and the process that a run belongs to."""

import os
import platform
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_PROC = Path("/proc")
_START_FIELD = 22 - 3
"""proc(5): starttime is field 22 of `stat`; what follows the name begins with field 3."""


class Fact(BaseModel):
    """A part of a record: immutable; fields of later versions are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Hardware(Fact):
    """What a training ran on, as far as it decides whether another machine rounds alike."""

    processor: str
    """The model's name."""
    machine: str
    """Instruction set: `x86_64`, `aarch64`."""
    cores: int


class Process(Fact):
    """A process, told apart from others that had its number before or get it after."""

    host: str
    boot_id: str
    pid: int
    started_ticks: int
    """When it started, in clock ticks since the machine's start; 0 where the system does not say."""


def hardware() -> Hardware:
    """This machine."""
    return Hardware(
        processor=_processor() or platform.processor() or "unknown",
        machine=platform.machine(),
        cores=os.cpu_count() or 1,
    )


def _processor() -> str:
    try:
        lines = (_PROC / "cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "")


def this_process() -> Process:
    """The running process."""
    pid = os.getpid()
    return Process(
        host=socket.gethostname(), boot_id=boot_id(), pid=pid, started_ticks=_started(pid) or 0
    )


def boot_id() -> str:
    """The kernel's id of this boot; empty where the system has none."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def is_alive(process: Process) -> bool:
    """Whether that process still runs. One of another host counts as alive: it cannot be asked."""
    if process.host != socket.gethostname():
        return True
    if process.boot_id != boot_id():
        return False
    started = _started(process.pid)
    return started is not None and process.started_ticks in (0, started)


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks; None where it is gone, 0 where that is not known."""
    try:
        # The name stands in brackets and may hold anything, blanks and brackets too.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None if (_PROC / "self").exists() else 0
    except ProcessLookupError:
        return None
    zombie = fields[0] in "ZX"
    return None if zombie else int(fields[_START_FIELD])
