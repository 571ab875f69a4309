"""Sudden death: an agent killed at system calls of an update, and what its next start makes of it.

    python -m benchmarks.kill [--points 200] [--errors N] [--power-cuts N] [--seed 1] [--json]

A station inspects with a committed bundle and takes the next one; strace kills it as a thread enters
its K-th call of a kind. Points are drawn over all calls that an undisturbed update makes: each kind in
proportion, from its beginning to its end. Every fourth one is killed again while it starts. Then it
starts without strace, and is to inspect with a bundle that is verified and was committed before.

`--errors`: a call, or some from it on, returns EIO or ENOSPC instead; an agent that ends of it is started
again. `--power-cuts`: an update is recorded, its folder rebuilt as a strict file system would leave it
after a cut at some call (what was not fsynced is gone, there in part, or torn), and the agent started on it.
"""

import json
import random
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.support.program import run
from tests.support.broker import Pki, TestBroker
from tests.support.instants import Instant, drawn
from tests.support.scene import Scene
from tests.support.sudden_death import Found, Suffering

LIMIT_START_S = 2.0
_A_STATION = 20
"""Deaths of one station, after which a new one takes its place."""
_AGAIN_EVERY = 4
_A_RECORD = 10
"""Cuts of one recorded update: the camera gives again what has passed since."""
_FILES = frozenset({
    "openat", "read", "pread64", "write", "pwrite64", "fsync", "fdatasync", "fallocate", "ftruncate",
    "rename", "unlink", "rmdir", "mkdir", "symlink", "getdents64", "statfs",
})  # fmt: skip
"""Calls that a failing disk makes fail."""


@dataclass
class Result:
    """What was counted; `slowest_start_s` is beside LIMIT_START_S."""

    kills: int = 0
    errors: int = 0
    power_cuts: int = 0
    bricked: int = 0
    """Starts without a bundle's verdict for half a minute."""
    unverified_active: int = 0
    """Starts with a bundle that was not committed before, or does not lie there whole."""
    slowest_start_s: float = 0.0
    median_start_s: float = 0.0
    lost: int = 0
    """Parts without a verdict by a bundle, or with two."""
    unended: int = 0
    """Updates that did not come to an end."""
    _starts: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return {key: value for key, value in asdict(self).items() if not key.startswith("_")}

    def add(self, found: Found) -> None:
        """One death, one error or one cut."""
        self.lost += found.lost
        self.unended += not found.ended
        if found.start_s is None:
            self.bricked += 1
            return
        self.unverified_active += not found.verified
        if not found.start_s:
            return
        self._starts.append(found.start_s)
        self.slowest_start_s = round(max(self._starts), 3)
        self.median_start_s = round(statistics.median(self._starts), 3)


class Stations:
    """One station after the other, on one broker."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder, self._chance = folder, chance
        self._broker = TestBroker(folder / "broker", Pki(folder / "ca"))
        self._made = 0

    @contextmanager
    def running(self) -> Iterator["Stations"]:
        """The broker, while it lasts."""
        self._broker.start()
        try:
            yield self
        finally:
            self._broker.stop()

    @contextmanager
    def one(self) -> Iterator[Suffering]:
        """A station with its first bundle."""
        self._made += 1
        scene = Scene(self._folder / f"scene-{self._made}", self._broker)
        try:
            suffering = Suffering(scene, self._chance)
            suffering.begin()
            yield suffering
        finally:
            scene.close()


def kill(stations: Stations, points: int, chance: random.Random, result: Result) -> None:
    """At `points` instants of an update."""
    with stations.one() as suffering:
        known = suffering.watch()
    while result.kills < points:
        # Some outlive their update: a thread comes to fewer calls than it did when watched.
        left = drawn(known, points - result.kills, chance)
        for start in range(0, len(left), _A_STATION):
            _kill(stations, left[start : start + _A_STATION], result, points)


def _kill(stations: Stations, instants: list[Instant], result: Result, points: int) -> None:
    with stations.one() as suffering:
        for instant in instants:
            found = suffering.die(instant, again=result.kills % _AGAIN_EVERY == 0)
            if found is None:
                continue
            result.kills += 1
            result.add(found)
            typer.echo(f"{result.kills}/{points} {instant.call} {instant.when}: {found}", err=True)
            if found.start_s is None or not found.ended:
                return


def fail(stations: Stations, points: int, chance: random.Random, result: Result) -> None:
    """One call of a file, or some from it on, returns an error at `points` instants of an update."""
    with stations.one() as suffering:
        known = [one for one in suffering.watch() if one.call in _FILES]
    left = drawn(known, points, chance)
    while left:
        with stations.one() as suffering:
            for instant in [left.pop() for _ in range(min(len(left), _A_STATION))]:
                error, calls = chance.choice(("EIO", "ENOSPC")), chance.choice((1, 1, 3, 50))
                found = suffering.suffer(instant, error, calls)
                result.errors += 1
                result.add(found)
                typer.echo(
                    f"{result.errors}/{points} {calls} {error} from {instant.call} {instant.when}:"
                    f" {found}", err=True,
                )  # fmt: skip


def cut(stations: Stations, points: int, chance: random.Random, result: Result) -> None:
    """Cuts the power after `points` changes of files, spread over several recorded updates."""
    while result.power_cuts < points:
        with stations.one() as suffering:
            known = suffering.record()
            count = min(points - result.power_cuts, _A_RECORD)
            for number in range(count):
                at = known[int((number + chance.random()) * len(known) / count)]
                found = suffering.cut(at)
                result.power_cuts += 1
                result.add(found)
                typer.echo(f"{result.power_cuts}/{points} after call {at}: {found}", err=True)


def main(
    points: Annotated[int, typer.Option(min=0, help="Deaths.")] = 200,
    errors: Annotated[int, typer.Option(min=0, help="Errors of the disk.")] = 0,
    power_cuts: Annotated[int, typer.Option(min=0, help="Power cuts.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the choice of instants.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One object on the last line.")] = False,
) -> None:
    """Kill, and print what was counted."""
    chance, result = random.Random(seed), Result()
    with (
        tempfile.TemporaryDirectory(prefix="loupe-bench-") as name,
        Stations(Path(name), chance).running() as stations,
    ):
        for act, count in ((kill, points), (fail, errors), (cut, power_cuts)):
            if count:
                act(stations, count, chance, result)
    if as_json:
        typer.echo(json.dumps(result.as_dict()))
        return
    typer.echo(
        f"{result.kills} kills, {result.errors} errors of the disk, {result.power_cuts} power cuts:"
        f" {result.bricked} did not inspect again, {result.unverified_active}"
        f" with another bundle than a proven one, {result.lost} parts lost; slowest start"
        f" {result.slowest_start_s:.2f} s ({result.slowest_start_s / LIMIT_START_S:.0%} of"
        f" {LIMIT_START_S:g} s)"
    )


if __name__ == "__main__":
    run(main)
