"""The spool: what a day at 30 parts a second takes, how fast it is written, how it drains.

    python -m benchmarks.spool [--hours 24] [--writes 300] [--rate 1MB/s] [--json]

Windows written a second, each durable on this disk by itself, as a window is. Then a day without a
broker in simulated time, at full rate: a record of 30 verdicts a second, a window a minute, an event an
hour (no images), durable only at its end. Then the broker is back on a link of `--rate`, and a record
of verdicts still comes each second: how long the backlog takes, and how late what is new arrives.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.support.program import run
from edge_agent.config import DataConfig
from edge_agent.db import Database
from edge_agent.spool import Spool, Stamp, Value
from fleet_contract.messages import Stream
from fleet_contract.units import parse_rate
from tests.support.sim_station import BATCH, STEP_S, Station

_TURNS_A_SECOND = round(1 / STEP_S)


def windows_a_second(folder: Path, writes: int) -> float:
    """Each in a transaction of its own, on the disk when it returns."""
    made = Station(folder, limit=10**9, rate=1.0)
    made.db.close()
    db = Database(folder / "durable.db")
    spool = Spool(db, 10**9, lambda: Stamp("boot", 0.0, 0.0, True))
    window = made.close_window()
    began = time.perf_counter()
    for _ in range(writes):
        spool.append(Stream.WINDOWS, window, Value.WINDOW)
    seconds = time.perf_counter() - began
    db.close()
    return writes / seconds


def fill(station: Station, hours: float) -> float:
    """Stores what so many hours leave; seconds of this machine's time that it took."""
    began = time.perf_counter()
    for minute in range(round(hours * 60)):
        with station.db.transaction():
            for _ in range(60):
                station.parts()
                station.clock.advance(1)
            station.window()
            if minute % 60 == 0:
                station.event()
    return time.perf_counter() - began


def drain(station: Station) -> tuple[float, float]:
    """(simulated seconds until nothing waits, largest age at arrival of what was new meanwhile)."""
    station.wire.connect(station.sender)
    began_s, made_s, turns = station.clock.monotonic(), {}, 0
    while station.waiting() > 5:
        if turns % _TURNS_A_SECOND == 0:
            made_s[Stream.PARTS, station.parts()] = station.clock.monotonic()
        if turns % (60 * _TURNS_A_SECOND) == 0:
            made_s[Stream.WINDOWS, station.window()] = station.clock.monotonic()
        station.turn()
        turns += 1
    seconds = station.clock.monotonic() - began_s
    while station.waiting():
        station.turn()
    return seconds, max(station.wire.arrived_s[key] - at_s for key, at_s in made_s.items())


def main(
    hours: Annotated[float, typer.Option(min=0.1, help="Without a broker.")] = 24.0,
    writes: Annotated[int, typer.Option(min=10, help="Windows to write.")] = 300,
    rate: Annotated[str, typer.Option(help="What the link carries.")] = "1MB/s",
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Measure, and print one line for each."""
    limit = DataConfig().spool_limit
    with tempfile.TemporaryDirectory() as name:
        written = windows_a_second(Path(name), writes)
        station = Station(Path(name), limit=limit, rate=parse_rate(rate))
        fill_s = fill(station, hours)
        records, size = station.spool.usage()
        gaps = station.db.rows("SELECT count(*) FROM records WHERE value = ?", Value.GAP)[0][0]
        seconds, late_s = drain(station)
        wire_bytes = station.wire.sent_bytes
        twice = len(station.wire.sent_after_ack)
        station.db.close()
    day = 24 / hours
    found = {
        "windows_a_second": written, "hours": hours, "parts_a_second": BATCH, "records": records,
        "spool_bytes_a_day": size * day, "wire_bytes_a_day": wire_bytes * day,
        "spool_ratio": size * day / limit, "gaps": gaps, "fill_s": fill_s, "drain_s": seconds,
        "live_late_s": late_s, "sent_after_ack": twice,
    }  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"windows     {written:8.1f} a second, each durable")
    typer.echo(f"a day       {size * day / 1e6:8.1f} MB in the spool ({size * day / limit:.0%} of "
               f"its bound), {wire_bytes * day / 1e6:.0f} MB on the wire; {gaps} gaps")  # fmt: skip
    typer.echo(f"drain       {seconds:8.1f} s at {rate} after {hours:g} h; what was new came at most "
               f"{late_s:.1f} s late; {twice} records after their ack")  # fmt: skip


if __name__ == "__main__":
    run(main)
