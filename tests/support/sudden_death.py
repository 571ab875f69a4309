"""A station whose agent is killed at instants of an update, and what the next start makes of it."""

import json
import random
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from fleet_contract import archive
from fleet_contract.errors import LoupeError
from fleet_contract.messages import PartVerdict
from tests.support.instants import CALLS, Instant, instants
from tests.support.power_cut import TRACE, Operation, after, operations, points
from tests.support.scene import Scene
from tests.support.strace import attached, failing, killing, under
from tests.support.wait import eventually

START_LIMIT_S = 30.0
"""A start after which no bundle judges for so long is a brick."""
_ENDED = ("committed", "rolled_back", "failed")
_ERRORS_S = 10.0
_BUFFER = 4000
"""Frames that the camera keeps: a recorded update is looked at for minutes."""
_START_CALLS = ("pwrite64", "fdatasync", "fcntl", "unlink")
"""What a start calls for its files and importing does not."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one death led to."""

    start_s: float | None
    """From the process's start to its first verdict by a bundle; None for a brick, 0 for none needed."""
    verified: bool
    """Whether the bundle of that verdict was released, committed here before, and lies there whole."""
    ended: bool
    """Whether the update came to an end."""
    lost: int
    """Parts without a verdict by a bundle, or with more than one."""


class Suffering:
    """One station and its line of bundles; each update is to a bundle that the device never had."""

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self._scene, self._chance = scene, chance
        self._station = scene.station(buffer=_BUFFER)
        self._data = self._station.folder / "data"
        self._released: set[str] = set()
        self._checked = 0
        self._done: list[Operation] = []

    def begin(self) -> None:
        """The first bundle is committed."""
        self._station.start()
        self._scene.reaches(self._update(), "committed")

    def _update(self) -> str:
        """Orders an update; its digest."""
        number = len(self._released) + 1
        digest = self._scene.release(name=f"bundle-{number}")
        self._released.add(digest)
        self._last = digest
        self._scene.server.assign(self._scene.device, digest, rollout=f"r{number}")
        return digest

    def watch(self) -> list[Instant]:
        """An update that nothing disturbs: its instants."""
        log = self._scene.folder / "trace"
        assert self._station.process is not None
        with attached(self._station.process.pid, ("-e", f"trace={','.join(CALLS)}"), str(log)):
            self._scene.reaches(self._update(), "committed")
        return instants(log.read_text(errors="replace").splitlines())

    def die(self, instant: Instant, *, again: bool = False) -> Found | None:
        """Killed at that instant of an update, `again` while it starts; None where it outlived it."""
        assert self._station.process is not None
        with attached(self._station.process.pid, killing(instant.call, instant.when)):
            digest = self._update()
            eventually(lambda: not self._station.running or self._ended(digest), 60, "its end")
        if self._station.running:
            return None
        self._station.kill()
        if again:
            self._die_starting()
        return self.start(digest)

    def suffer(self, instant: Instant, error: str, calls: int) -> Found:
        """`error` in place of `calls` calls from that instant of an update on, or to its end.

        An agent that ends of it is started again, as a service manager would.
        """
        assert self._station.process is not None
        when = f"{instant.when}..{instant.when + calls - 1}"
        with attached(self._station.process.pid, failing((instant.call,), error, when=when)):
            digest = self._update()
            _within(_ERRORS_S, lambda: not self._station.running or self._ended(digest))
        if not self._station.running:
            self._station.kill()
            return self.start(digest)
        lines, now_s = self._station.output_lines, time.monotonic()
        return replace(self._found(digest, lines, now_s, self._released), start_s=0.0)

    # Power cuts.

    def record(self) -> list[int]:
        """A start and an update whose changes of files are kept; the points at which to cut."""
        self._station.stop()
        self._baseline = self._scene.folder / "baseline"
        shutil.rmtree(self._baseline, ignore_errors=True)
        shutil.copytree(self._data, self._baseline, symlinks=True)
        log, lines = self._scene.folder / "trace", self._station.output_lines
        self._station.start(under(TRACE, str(log)))
        eventually(lambda: self._station.output_lines > lines, 60, "it inspects")
        digest = self._update()
        self._scene.reaches(digest, "committed")
        self._scene.bench.pause()
        self._station.kill()
        # A last line that the kill cut in two is none.
        self._done = list(operations(log.read_text(errors="replace").splitlines()))
        return points(self._data, self._baseline, self._done)

    def cut(self, count: int) -> Found:
        """The power goes after `count` of the calls; the server knows what had come by then."""
        self._station.kill()
        disk = after(self._data, self._baseline, self._done[:count])
        shutil.rmtree(self._data)
        disk.write_out(self._data, self._chance)
        self._scene.server.rewind(self._done[count - 1].at_s, self._done[-1].at_s)
        self._checked = 0
        self._scene.bench.resume()
        found = self.start(self._last)
        self._scene.bench.pause()
        return found

    def _die_starting(self) -> None:
        call, when = self._chance.choice(_START_CALLS), self._chance.randint(1, 12)
        lines = self._station.output_lines
        self._station.start(under(killing(call, when)))
        eventually(
            lambda: not self._station.running or self._station.output_lines > lines, 60, "its end"
        )
        self._station.kill()

    def start(self, digest: str) -> Found:
        """Starts the agent, and lets the update to `digest` come to its end."""
        proven = committed(self._data)
        lines, began_s = self._station.output_lines, time.monotonic()
        self._station.start()
        return self._found(digest, lines, began_s, proven)

    def _found(self, digest: str, lines: int, began_s: float, proven: set[str]) -> Found:
        first = self._first_verdict(lines, began_s + START_LIMIT_S)
        start_s = None if first is None else time.monotonic() - began_s
        verified = first is not None and first.digest in proven and self._whole(first.digest)
        ended = first is not None and _within(60, lambda: self._ended(digest))
        return Found(start_s, verified, ended, self._lost())

    def _ended(self, digest: str) -> bool:
        return (self._scene.steps(digest) or [""])[-1] in _ENDED

    def _first_verdict(self, after: int, deadline_s: float) -> PartVerdict | None:
        """The first one by a bundle; an agent that ends is started again, as a service manager would."""
        while time.monotonic() < deadline_s:
            for line in self._station.told_lines(after):
                verdict = PartVerdict.model_validate(json.loads(line))
                if verdict.digest is not None:
                    return verdict
            if not self._station.running:
                self._station.start()
            time.sleep(0.01)
        return None

    def _whole(self, digest: str | None) -> bool:
        """Whether both repositories know the bundle, and it lies there byte by byte."""
        if digest not in self._released:
            return False
        folder = self._data / "bundles" / digest
        try:
            manifest = archive.load_folder(folder)
            files = {name: (folder / name).read_bytes() for name in manifest.files}
            return archive.digest(archive.pack(manifest, files)) == digest
        except LoupeError:
            return False

    def _lost(self) -> int:
        """New ones since the last look; waits for parts that are on their way."""

        def gapless() -> bool:
            numbers = self._scene.numbers()
            return numbers == list(range(numbers[0], numbers[0] + len(numbers)))

        _within(15, gapless)
        verdicts = self._scene.server.verdicts(self._scene.device)
        first = next(n for n, v in enumerate(verdicts) if v.digest)
        counts = Counter(verdict.number for verdict in verdicts)
        wrong = sum(verdict.digest is None for verdict in verdicts[first:])
        wrong += len(range(min(counts), max(counts) + 1)) - len(counts)
        wrong += sum(count - 1 for count in counts.values())
        new, self._checked = wrong - self._checked, wrong
        return new


def committed(data: Path) -> set[str]:
    """Digests that were committed on the device, read from a copy of its database and log."""
    with tempfile.TemporaryDirectory() as name:
        for path in data.glob("agent.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, name)
        with closing(sqlite3.connect(Path(name) / "agent.db")) as db:
            rows = db.execute("SELECT digest FROM outcomes WHERE outcome = 'committed'")
            return {str(digest) for (digest,) in rows}


def _within(timeout_s: float, predicate: Callable[[], bool]) -> bool:
    """Whether it became true in that time."""
    try:
        eventually(predicate, timeout_s, "")
    except AssertionError:
        return False
    return True
