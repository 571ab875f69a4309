"""A process that feeds a guard as an agent does, to be killed and stopped: `python -m tests.support.feeder`.

Reads commands, one a line: `expect PART MONOTONIC_SECONDS`, `verdict PART VERDICT`, `ready yes|no`. Prints one
line of JSON for each event that the guard gave.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edge_agent.output.guarded import Guarded, GuardSettings
from fleet_contract.messages import PartVerdict
from fleet_contract.names import Verdict
from tests.support.imports import ROOT
from tests.support.wait import eventually


class Feeder:
    """The process, from the test's side."""

    def __init__(self, folder: Path, outputs: list[dict[str, Any]], silence_s: float = 1.0) -> None:
        settings = {"outputs": outputs, "silence": silence_s, "lock": str(folder / "guard.lock")}
        self._log = folder / "feeder.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.feeder", json.dumps(settings)],
                stdin=subprocess.PIPE, stdout=log, cwd=ROOT,
            )  # fmt: skip

    def say(self, *words: object) -> None:
        """One command."""
        assert self.process.stdin is not None
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()

    @property
    def told(self) -> list[list[Any]]:
        """What the guard's side told so far: [kind, text, severity], or ["pid", number]."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    @property
    def events(self) -> list[str]:
        """Texts of the events."""
        return [str(line[1]) for line in self.told if line[0] != "pid"]

    @property
    def guard(self) -> int:
        """The guard's process id."""
        eventually(lambda: any(line[0] == "pid" for line in self.told), 10, "the guard started")
        return int(next(line[1] for line in reversed(self.told) if line[0] == "pid"))

    def expect(self, part: int, within_s: float) -> float:
        """Announces a part; the monotonic time by which its verdict is wanted."""
        due_s = time.monotonic() + within_s
        self.say("expect", part, due_s)
        return due_s

    def send(self, number: signal.Signals) -> None:
        """A signal to the feeder."""
        self.process.send_signal(number)

    def close(self) -> None:
        """Ended, whatever state it is in."""
        self.process.kill()
        self.process.wait(10)
        if self.process.stdin is not None:
            self.process.stdin.close()


def main() -> None:
    """The process itself."""
    given = json.loads(sys.argv[1])
    ready = [True]

    def show(*line: object) -> None:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    settings = GuardSettings(given["outputs"], given["silence"], Path(given["lock"]))
    guarded = Guarded(settings, lambda: ready[0], show)
    guarded.start()
    show("pid", guarded.pid)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "expect":
            guarded.expect(int(rest[0]), float(rest[1]))
        elif word == "verdict":
            guarded.act(
                PartVerdict(
                    number=int(rest[0]), verdict=Verdict(rest[1]), latency_ms=1, time_s=time.time()
                )
            )
        elif word == "ready":
            ready[0] = rest[0] == "yes"
    guarded.close()


if __name__ == "__main__":
    main()
