"""Resident memory of an agent that inspects, over 200 MB, and of the server; and the agent's start.

    python benchmarks/memory.py [--seconds 10] [--starts 3] [--json]

Three stations inspect from their line cameras with one small bundle (int8: two by ONNX Runtime, one
by LiteRT). RSS is what the kernel counts for the process, shared libraries included; PSS counts
what processes share in parts. Each number is the largest of one look every half second. Then one
agent is stopped and started again: from the start of its process to its first verdict, told at its
output and durable in its store, over 2 s.
"""

import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer

from benchmarks.support.bundle import small_bundle
from benchmarks.support.fleet import fleet, release, roll_out, server_process
from benchmarks.support.program import run
from benchmarks.support.start import Start, restart
from hil.story.settings import STATIONS
from hil.story.world import World

LIMIT_BYTES, LIMIT_START_S = 200_000_000, 2.0
_LOOK_S = 0.5


@dataclass(frozen=True)
class Memory:
    """Bytes of one process."""

    rss: int
    pss: int | None
    """None where /proc does not give it."""


@dataclass(frozen=True)
class Result:
    """What was measured; ratios are over LIMIT_BYTES and LIMIT_START_S."""

    agents: dict[str, Memory]
    server: Memory
    largest_agent_ratio: float
    """By RSS."""
    starts: list[Start]
    start_ratio: float
    """The median start, until the first verdict is durable."""


def measure(archive: bytes, seconds: float, starts: int) -> Result:
    """Everything, in one fleet."""
    with fleet() as world:
        roll_out(world, release(world, archive))
        for station in world.stations.values():
            station.bench.resume()
        world.wait("every station inspects", lambda: len(world.api.get("/parts/summary")) == 3)
        memory = watch(processes(world), seconds)
        measured = [restart(world, STATIONS[0]) for _ in range(starts)]
    server = memory.pop("server")
    return Result(
        agents=memory,
        server=server,
        largest_agent_ratio=round(max(one.rss for one in memory.values()) / LIMIT_BYTES, 3),
        starts=measured,
        start_ratio=round(statistics.median(one.stored_s for one in measured) / LIMIT_START_S, 3),
    )


def processes(world: World) -> dict[str, psutil.Process]:
    """The agents by their stations' names, and the server."""
    agents = {name: station.agent.process for name, station in world.stations.items()}
    found = {name: psutil.Process(child.pid) for name, child in agents.items() if child}
    return {**found, "server": server_process(world)}


def watch(watched: dict[str, psutil.Process], seconds: float) -> dict[str, Memory]:
    """The largest of what each process had at any look."""
    looks: dict[str, list[Memory]] = {name: [] for name in watched}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, process in watched.items():
            looks[name].append(resident(process))
        time.sleep(_LOOK_S)
    return {
        name: Memory(
            rss=max(look.rss for look in found),
            pss=max((look.pss for look in found if look.pss is not None), default=None),
        )
        for name, found in looks.items()
    }


def resident(process: psutil.Process) -> Memory:
    """What the process has now."""
    full = process.memory_full_info()
    return Memory(rss=full.rss, pss=getattr(full, "pss", None))


def main(
    seconds: Annotated[float, typer.Option(min=1, help="How long to watch.")] = 10.0,
    starts: Annotated[int, typer.Option(min=1, help="Starts of one agent.")] = 3,
    bundle: Annotated[Path | None, typer.Option(help="This bundle, not a trained one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object on the last line.")] = False,
) -> None:
    """Measure, and print one line for each process and each start."""
    result = measure(small_bundle(bundle), seconds, starts)
    if as_json:
        typer.echo(json.dumps(asdict(result)))
        return
    for name, memory in {**result.agents, "server": result.server}.items():
        typer.echo(_line(name, memory, None if name == "server" else LIMIT_BYTES))
    for start in result.starts:
        typer.echo(
            f"start      first verdict told {start.told_s:5.2f} s, stored {start.stored_s:5.2f} s"
            f"  ({start.stored_s / LIMIT_START_S:.0%} of {LIMIT_START_S:g} s)"
        )


def _line(name: str, memory: Memory, limit: int | None) -> str:
    pss = "" if memory.pss is None else f"   PSS {memory.pss / 1e6:6.1f} MB"
    share = f"  ({memory.rss / limit:.0%} of {limit / 1e6:.0f} MB)" if limit else ""
    return f"{name:10} RSS {memory.rss / 1e6:6.1f} MB{pss}{share}"


if __name__ == "__main__":
    run(main)
