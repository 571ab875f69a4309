"""From the start of the demonstration's command to the first stored verdict, over 60 s; time of each act.

    python benchmarks/first_verdict.py              play until the first verdict, then end the story
    python benchmarks/first_verdict.py --dir DIR    read a story that was played to its end
    python benchmarks/first_verdict.py --play       play it to its end (minutes) in --dir, then read it

A verdict counts that says accept or reject and lies in the server's database. On its way there: data
rendered, a model trained, exported, quantized and measured, signed by two keys, pushed to three
stations, self-tested and activated.
"""

import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer

from benchmarks.support.program import run
from fleet_contract.errors import ResourceError
from hil.story.api import StoryError, until
from hil.story.command import TIMES
from hil.story.processes import die_with_parent
from hil.story.world import program

LIMIT_S = 60.0
_PATIENCE_S = 170.0


@dataclass(frozen=True)
class Result:
    """Seconds."""

    first_verdict_s: float
    """Until it was stored in the server's database."""
    judged_s: float
    """Until an agent had judged the part."""
    ratio: float
    """first_verdict_s / LIMIT_S."""
    acts: dict[str, float]
    """What each act took; empty for a story that was ended early."""


def first_verdict(database: Path) -> tuple[float, float] | None:
    """Times (UTC epoch) at which the first verdict was stored and judged, None before there is one."""
    if not database.exists():
        return None
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'partsrow'").fetchone():
            return None
        row = db.execute(
            "SELECT min(received_at), min(json_extract(part.value, '$.time_s'))"
            " FROM partsrow, json_each(body) AS part"
            " WHERE json_extract(part.value, '$.verdict') != 'no_decision'"
        ).fetchone()
    return (row[0], row[1]) if row[0] else None


def _result(times: tuple[float, float], started: float, acts: dict[str, float]) -> Result:
    stored, judged = (moment - started for moment in times)
    return Result(
        first_verdict_s=round(stored, 1),
        judged_s=round(judged, 1),
        ratio=round(stored / LIMIT_S, 3),
        acts={name: round(seconds, 1) for name, seconds in acts.items()},
    )


def played(folder: Path) -> Result:
    """What a story that was played to its end left in its folder."""
    path = folder / TIMES
    if not path.exists():
        raise ResourceError(
            f"no story was played to its end in {folder}",
            remedy="Play one with --play, or name another folder with --dir.",
        )
    times = json.loads(path.read_text())
    found = first_verdict(folder / "server" / "loupe.db")
    if found is None:
        raise StoryError(f"the story in {folder} has no verdict")
    return _result(found, times["started"], times["acts"])


def play_to_the_end(folder: Path) -> Result:
    """The whole story, unattended."""
    folder.mkdir(parents=True, exist_ok=True)
    with _demo(folder) as demo:
        if demo.wait():
            raise StoryError(f"the story ended with status {demo.returncode}")
    return played(folder)


def play_to_the_first_verdict() -> Result:
    """The story's beginning, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="loupe-bench-") as name, _demo(Path(name)) as demo:
        started = psutil.Process(demo.pid).create_time()
        try:
            found = until(
                "the first verdict",
                lambda: first_verdict(Path(name) / "server" / "loupe.db"),
                patience_s=_PATIENCE_S,
                meanwhile=lambda: _check(demo),
            )
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.wait()
    return _result(found, started, {})


def _check(demo: "subprocess.Popen[bytes]") -> None:
    if demo.poll() is not None:
        raise StoryError(f"the story ended with status {demo.returncode} before a verdict")


def _demo(folder: Path) -> "subprocess.Popen[bytes]":
    command = [program("loupe-hil"), "demo", "--headless", "--port", "0", "--dir", str(folder)]
    return subprocess.Popen(command, stdout=sys.stderr, preexec_fn=die_with_parent())


def main(
    folder: Annotated[
        Path | None, typer.Option("--dir", help="A story's folder; with --play: build/demo.")
    ] = None,
    play: Annotated[bool, typer.Option(help="Play the whole story first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One object on the last line.")] = False,
) -> None:
    """Measure or read, and print a line for the first verdict and one for each act."""
    if play:
        result = play_to_the_end(folder or Path("build/demo"))
    else:
        result = played(folder) if folder else play_to_the_first_verdict()
    if as_json:
        typer.echo(json.dumps(asdict(result)))
        return
    typer.echo(
        f"first verdict stored after {result.first_verdict_s:.1f} s ({result.ratio:.0%} of"
        f" {LIMIT_S:g} s), judged after {result.judged_s:.1f} s"
    )
    for name, seconds in result.acts.items():
        typer.echo(f"{seconds:7.1f} s  {name}")


if __name__ == "__main__":
    run(main)
