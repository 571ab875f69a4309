"""The story's processes: started, watched, restarted where a service manager would, and ended.

Every child asks the kernel to be killed with its parent, so that nothing stays behind even when the
story itself is killed.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet_contract.errors import ResourceError

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child of a process with threads must not load libraries.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_STOP_S = 8.0
_RESTART_S = 0.3


def die_with_parent() -> Callable[[], None]:
    """For `preexec_fn` of a child of this process: it ends when this process is gone (Linux)."""
    parent = os.getpid()

    def ask() -> None:
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The kernel tells of a death that comes, not of one that has been: a parent that was killed
        # between the fork and the line above would leave this child behind.
        if os.getppid() != parent:
            os._exit(1)

    return ask


@dataclass
class Child:
    """One process that the story keeps."""

    name: str
    command: Sequence[str]
    log: Path
    restart: bool
    once: bool = False
    """A task that is expected to end; its output on stderr goes to the terminal."""
    process: subprocess.Popen[bytes] | None = None
    exits: list[int] = field(default_factory=list)
    """Exit statuses that were not asked for; negative for a signal."""


class Supervisor:
    """Starts children in the order of the story and ends them in the opposite one."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []
        self._ending = threading.Event()
        self._lock = threading.Lock()
        # Children die with the *thread* that started them: one thread that lives as long as the
        # story starts (and restarts) them all.
        self._requests: list[tuple[Child, threading.Event]] = []
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        restart: bool = False,
        once: bool = False,
    ) -> Child:
        """Starts `command` with its output in `logs/name.log`; `restart` starts it again when it ends.

        `once`: a task; its progress (stderr) goes to the terminal. Raises ResourceError where the program is not there.
        """
        child = Child(name, command, self._logs / f"{name}.log", restart, once)
        started = threading.Event()
        with self._wake:
            self._requests.append((child, started))
            self._wake.notify()
        started.wait()
        if child.process is None:
            raise ResourceError(
                f"{command[0]} cannot be started",
                remedy="Run `make setup` first; it installs every program of the story.",
            )
        self._children.append(child)
        return child

    def _run(self) -> None:
        while not self._ending.is_set():
            with self._wake:
                self._wake.wait(_RESTART_S)
                requests, self._requests = self._requests, []
            for child, started in requests:
                self._spawn(child)
                started.set()
            with self._lock:
                self._mend()

    def _spawn(self, child: Child) -> None:
        child.log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with child.log.open("ab") as log:
                child.process = subprocess.Popen(
                    child.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=None if child.once else log,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                    # A Ctrl-C in the terminal goes to the story alone, which ends them in order.
                    start_new_session=True,
                    preexec_fn=die_with_parent(),
                )
        except OSError:
            child.process = None

    def _mend(self) -> None:
        for child in self._children:
            status = child.process.poll() if child.process else None
            if status is not None and child.restart and not self._ending.is_set():
                child.exits.append(status)
                self._spawn(child)

    def stop(self, child: Child) -> None:
        """Ends one child for good: SIGTERM, then SIGKILL after 8 s."""
        with self._lock:
            self._children.remove(child)
        _end([child])

    def ended(self) -> list[Child]:
        """Services that are not restarted and have ended by themselves."""
        return [
            child
            for child in self._children
            if not (child.restart or child.once)
            and child.process
            and child.process.poll() is not None
        ]

    def stop_all(self) -> None:
        """Ends every child, the last started first; returns when all are gone."""
        with self._lock:
            self._ending.set()
        _end(list(reversed(self._children)))
        self._thread.join()


def _end(children: list[Child]) -> None:
    alive = [child.process for child in children if child.process and child.process.poll() is None]
    for process in alive:
        process.terminate()
    for process in alive:
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, for a message."""
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
