"""The folder of runs: `runs/<id>/run.json`, `metrics.jsonl`, `checkpoint`; a kill leaves it readable."""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from uuid import uuid4

from fleet_contract.clock import Clock
from fleet_contract.errors import DataError, LoupeError, StateError
from trainer.runs.machine import this_process
from trainer.runs.record import MAY_GO_ON, Outcome, Record, parse_record

RECORD, METRICS, CHECKPOINT = "run.json", "metrics.jsonl", "checkpoint"


class Runs:
    """The runs of a store, below `folder` (made with the first run)."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock

    def new_id(self, line: str) -> str:
        """A name that sorts by time: `20261120-200501-LINE-3f9a`."""
        moment = datetime.fromtimestamp(self._clock.time(), UTC)
        return f"{moment:%Y%m%d-%H%M%S}-{line}-{uuid4().hex[:4]}"

    def start(self, record: Record) -> "OpenRun":
        """Writes the record of a run that begins."""
        folder = self._folder / record.id
        folder.mkdir(parents=True)
        return OpenRun(folder, record, self._clock)

    def resume(self, run: Record) -> "OpenRun":
        """Goes on with a run that stopped or was killed. Raises StateError for another."""
        if run.outcome not in MAY_GO_ON:
            raise StateError(
                f"run {run.id} cannot go on",
                expected=f"a run that is {', '.join(sorted(MAY_GO_ON))}",
                found=f"one that is {run.outcome}",
                remedy="Train anew without --resume.",
            )
        again = run.model_copy(update={
            "outcome": Outcome.RUNNING, "error": "", "ended_s": None, "process": this_process(),
            "resumed_s": [*run.resumed_s, self._clock.time()],
        })  # fmt: skip
        return OpenRun(self._folder / run.id, again, self._clock)

    def all(self) -> list[Record]:
        """All runs, the oldest first, as they are now. Raises DataError for a broken record."""
        found = sorted(self._folder.glob(f"*/{RECORD}"))
        records = [parse_record(path.read_bytes(), str(path)).seen() for path in found]
        return sorted(records, key=lambda record: (record.started_s, record.id))

    def find(self, name: str) -> Record:
        """The run of that id, or of the only id that holds it; `last` is the newest.

        Raises DataError where there is none, or more than one.
        """
        records = self.all()
        if name == "last" and records:
            return records[-1]
        found = [r for r in records if r.id == name] or [r for r in records if name in r.id]
        if len(found) != 1 or not name:
            raise DataError(
                f"{'no run' if not found else 'more than one run'} is called {name!r}",
                expected="an id, a part of one, or `last`",
                found=", ".join(record.id for record in (found or records)[-8:]) or "no run at all",
                remedy="`loupe-trainer runs list` shows them.",
            )
        return found[0]

    def metrics(self, run: str) -> list[dict[str, float]]:
        """A run's figures by step; of a step that was done again after a kill, the last ones."""
        return read_metrics(self._folder / run / METRICS)

    def folder(self, run: str) -> Path:
        """Where a run's files lie."""
        return self._folder / run


class OpenRun:
    """The record of the run that this process does; a Recorder.

    As a context it writes how the run ended where that was not done: an error made it fail.
    """

    def __init__(self, folder: Path, record: Record, clock: Clock) -> None:
        self._folder, self.record, self._clock = folder, record, clock
        self._lines: IO[str] | None = None
        self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None,
                 _trace: TracebackType | None) -> None:  # fmt: skip
        if error is None or self.record.outcome is not Outcome.RUNNING:
            return
        if isinstance(error, KeyboardInterrupt):
            self.finish(Outcome.STOPPED, "interrupted")
        elif isinstance(error, LoupeError):
            self.finish(Outcome.FAILED, str(error))
        else:
            self.finish(Outcome.FAILED, f"unexpected {error!r}")

    @property
    def checkpoint(self) -> Path:
        """Where the training keeps what it needs to go on after a kill."""
        return self._folder / CHECKPOINT

    @property
    def metrics_file(self) -> Path:
        """Where the figures by step lie."""
        return self._folder / METRICS

    @property
    def record_file(self) -> Path:
        """Where the record lies."""
        return self._folder / RECORD

    def metric(self, step: int, values: dict[str, float]) -> None:
        """Appends a line and hands it to the system at once, so that a kill loses none."""
        if self._lines is None:
            _end_torn_line(self.metrics_file)
            self._lines = self.metrics_file.open("a", encoding="utf-8")
        line = {"step": step, "time_s": round(self._clock.time(), 3), **values}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()

    def shares(self) -> dict[int, dict[int, float]]:
        """By member, the share that was done after each step, as far as it was written down."""
        result: dict[int, dict[int, float]] = {}
        for line in read_metrics(self.metrics_file):
            if "share" in line:
                steps = result.setdefault(int(line.get("member", 0)), {})
                steps[int(line["step"])] = line["share"]
        return result

    def finish(self, outcome: Outcome, error: str = "", **fields: object) -> None:
        """Writes how it ended; a finished run needs its checkpoint no more."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None
        update = {"outcome": outcome, "error": error, "ended_s": self._clock.time(), **fields}
        self.record = self.record.model_copy(update=update)
        self._write()
        if outcome is Outcome.SUCCEEDED:
            # Those of other members of an ensemble lie beside the first one's.
            for path in self._folder.glob(f"{CHECKPOINT}*"):
                path.unlink()

    def _write(self) -> None:
        data = self.record.model_dump_json(indent=1).encode()
        write_whole(self.record_file, data)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of `metrics.jsonl`, one a member and step; one that a kill tore is left out."""
    by_step = {(int(line.get("member", 0)), int(line["step"])): line for line in _lines(path)}
    return [by_step[key] for key in sorted(by_step)]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict) and "step" in value:
            yield value


def _end_torn_line(path: Path) -> None:
    if path.exists() and not re.search(rb"(\A|\n)\Z", path.read_bytes()):
        with path.open("ab") as file:
            file.write(b"\n")


def write_whole(path: Path, data: bytes) -> None:
    """Replaces a file: after a kill it is the old one or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
