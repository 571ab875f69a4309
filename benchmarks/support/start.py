"""How long an agent takes from the start of its process to its first verdict."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil

from edge_agent.box.records import DATABASE
from hil.story.api import StoryError
from hil.story.world import World, start_agent

_LOOK_S, _PATIENCE_S = 0.01, 60.0


@dataclass(frozen=True)
class Start:
    """Seconds since the process began."""

    told_s: float
    """The first verdict was told at the station's output."""
    stored_s: float
    """The first batch of verdicts was durable."""


def restart(world: World, name: str) -> Start:
    """Stops the station's agent in order, starts it again, and watches its output and its store."""
    station = world.stations[name]
    world.supervisor.stop(station.agent)
    output, store = station.folder / "verdicts.jsonl", station.folder / "data" / DATABASE
    size, trigger = output.stat().st_size, last_trigger(store)
    station.agent = start_agent(world, name, station.folder)
    assert station.agent.process is not None
    began = psutil.Process(station.agent.process.pid).create_time()
    told = _when(lambda: output.stat().st_size > size) - began
    stored = _when(lambda: last_trigger(store) > trigger) - began
    return Start(round(told, 3), round(stored, 3))


def last_trigger(store: Path) -> int:
    """The last trigger whose verdict is durable, 0 for none."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=5)) as db:
        row = db.execute("SELECT max(trigger) FROM progress").fetchone()
    return int(row[0] or 0)


def _when(seen: Callable[[], bool]) -> float:
    """Time (UTC epoch) at which `seen` was first true, looked at every 10 ms."""
    deadline = time.monotonic() + _PATIENCE_S
    while not seen():
        if time.monotonic() > deadline:
            raise StoryError(f"the agent gave no verdict within {_PATIENCE_S:.0f} s of its start")
        time.sleep(_LOOK_S)
    return time.time()
