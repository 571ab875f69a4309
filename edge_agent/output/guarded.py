"""The agent's side of the guard: feeds it, hears it, and starts it again when it ends.

Writing to the pipe never waits: where it is full, the guard hangs and is replaced.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.link_rules import Backoff
from edge_agent.output.guard import LINGER_S
from fleet_contract.messages import PartVerdict

log = logging.getLogger(__name__)

BEAT_S = 0.2
_HUNG_S = 5.0 + LINGER_S
"""A guard that has not reported for this long hangs; a new one may wait for the one before it."""
_READ = 65536
Tell = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """What a guard is started with."""

    outputs: list[dict[str, Any]]
    """Each output's settings, as the maker of its kind takes them."""
    silence_s: float
    lock: Path
    """One guard at a time holds it."""

    def line(self) -> bytes:
        """The first line that a guard reads."""
        return _line({"outputs": self.outputs, "silence": self.silence_s, "lock": str(self.lock)})


def _line(*values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


class Guarded:
    """An output whose process holds the real ones. `expect` and `act` belong to one thread."""

    def __init__(self, settings: GuardSettings, ready: Callable[[], bool], tell: Tell) -> None:
        """`ready` says whether parts are judged at present; `tell` makes an event."""
        self._settings, self._ready, self._tell = settings, ready, tell
        self._process: subprocess.Popen[bytes] | None = None
        self._heard_s = 0.0
        self._rest = b""
        self._backoff = Backoff(0.1, 5.0)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._said = False
        self.counts: dict[str, dict[str, Any]] = {}
        """By output: whether it is lost, failed calls, parts that could not be told."""
        self.restarts = 0
        self.thread = threading.Thread(target=self._run, name="guard", daemon=True)

    def start(self) -> None:
        """The first guard is there when it returns; one that could not be started is tried again."""
        self._launch()
        self.thread.start()

    @property
    def pid(self) -> int | None:
        """The guard's process."""
        process = self._process
        return process.pid if process else None

    def expect(self, part: int, due_s: float) -> None:
        self._send("expect", part, due_s)

    def act(self, verdict: PartVerdict) -> None:
        self._send("verdict", verdict.number, str(verdict.verdict), verdict.reason)

    def close(self) -> None:
        """Lets go of the pipe: the guard shows that nobody judges, and ends."""
        self._stop.set()
        self.thread.join(timeout=5)
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        _let_go(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LINGER_S + 1)
        process.kill()
        process.wait()

    def _send(self, *message: Any) -> None:
        with self._lock:
            process = self._process
            if process is None or process.stdin is None:
                raise BrokenPipeError("the guard of the outputs is not there")
            # Shorter than PIPE_BUF: it goes as a whole or, where the pipe is full, not at all.
            os.write(process.stdin.fileno(), _line(*message))

    def _launch(self) -> None:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent.output.guard"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            )  # fmt: skip
        except OSError as error:
            log.error("the guard of the outputs cannot be started: %s", error)
            return
        assert process.stdin is not None
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        os.set_blocking(process.stdin.fileno(), False)
        self._heard_s, self._rest = time.monotonic(), b""
        with contextlib.suppress(OSError):
            process.stdin.write(self._settings.line())
        self._process = process

    def _run(self) -> None:
        while not self._stop.wait(BEAT_S):
            self._hear()
            why = self._ended()
            if why:
                self._replace(why)
                continue
            with contextlib.suppress(OSError):
                self._send("beat", self._ready())

    def _ended(self) -> str:
        """Why the guard is no good any more; '' where it is."""
        if self._process is None:
            return "could not be started"
        code = self._process.poll()
        if code is not None:
            return f"ended ({code})"
        silent_s = time.monotonic() - self._heard_s
        return "" if silent_s < _HUNG_S else f"does not answer for {silent_s:.0f} s"

    def _replace(self, why: str) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            _let_go(process)
        self.restarts += 1
        if not self._said:
            # One that ends again and again before it says anything is told once.
            self._said = True
            self._tell("fault", f"the guard of the outputs {why}; it is started again", "error")
        self._stop.wait(self._backoff.next())
        self._launch()

    def _hear(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        try:
            data = os.read(process.stdout.fileno(), _READ)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._heard(json.loads(line))

    def _heard(self, message: list[Any]) -> None:
        kind, *values = message
        self._heard_s = time.monotonic()
        if kind == "counts":
            self.counts = values[0]
            self._backoff.reset()
            self._said = False
        elif kind == "event":
            self._tell("output", values[0], values[1])


def _let_go(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
