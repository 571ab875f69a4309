"""The station's own records, for commands beside the agent or without it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edge_agent.box.client import live_state
from edge_agent.config import StationConfig
from edge_agent.db import Database
from edge_agent.health import stamp
from edge_agent.lock import is_locked, take_lock
from edge_agent.spool import Spool
from edge_agent.update.durable import Durable
from fleet_contract.clock import SystemClock
from fleet_contract.errors import StateError
from fleet_contract.names import Slot, UpdateState

DATABASE = "agent.db"
ROLLED_BACK = "an operator rolled the line back"


@contextmanager
def records(station: StationConfig) -> Iterator[Durable]:
    """Slots, updates and spool of the data folder. Raises StateError where no agent ever ran."""
    path = station.data.folder / DATABASE
    if not path.exists():
        raise StateError(f"{station.data.folder} holds no records: the agent never ran here")
    db = Database(path)
    try:
        yield Durable(db, Spool(db, station.data.spool_limit, stamp), SystemClock())
    finally:
        db.close()


def owner(station: StationConfig) -> int:
    """Process id of the agent that holds the data folder; 0 where none runs."""
    if not is_locked(station.data.folder):
        return 0
    text = (station.data.folder / "agent.lock").read_text().strip()
    return int(text) if text.isdigit() else 0


def check_line(station: StationConfig, line: str) -> None:
    """Raises StateError where the station does not inspect that line."""
    if line != station.line.name:
        raise StateError(
            f"this station has no line {line!r}", expected=station.line.name, found=line
        )


def roll_back(station: StationConfig) -> str:
    """Back to what judged before: by the running agent, or here and now; what to tell.

    That is the previous bundle; of a candidate with a share of the parts, the active one. Raises StateError where there is none.
    """
    line = station.line.name
    with records(station) as durable:
        update = durable.update(line)
        shared = update is not None and update.state is UpdateState.CANARY
        previous = durable.slots.get(line, Slot.ACTIVE if shared else Slot.PREVIOUS)
        if previous is None:
            raise StateError(
                f"line {line} has no previous bundle",
                remedy="A bundle becomes the previous one when the next is activated.",
            )
        text = f"line {line} goes back to {previous.digest[:12]}"
        if is_locked(station.data.folder):
            durable.order("rollback", line)
            return f"{text} now"
        with take_lock(station.data.folder):
            durable.roll_back(line, ROLLED_BACK)
            durable.event("rollback", ROLLED_BACK, severity="warning", line=line)
        return f"{text}: it judges when the agent starts"


def lock_updates(station: StationConfig, *, locked: bool) -> str:
    """Sets or lifts the line's "not now", by the running agent or here; what to tell."""
    line = station.line.name
    with records(station) as durable:
        if is_locked(station.data.folder):
            durable.order("lock" if locked else "unlock", line)
        else:
            with take_lock(station.data.folder):
                durable.lock_updates(line, locked)
    if locked:
        return (
            f"line {line} takes no new bundle until `loupe-agent unlock`; rollback stays possible"
        )
    return f"line {line} takes new bundles again"


def facts(station: StationConfig) -> dict[str, Any]:
    """What the station runs, from its records; with the running agent's own word where it gives one."""
    line = station.line.name
    running = is_locked(station.data.folder)
    with records(station) as durable:
        update = durable.update(line)
        slots = {slot: durable.slots.get(line, slot) for slot in Slot}
        waiting, size = durable.waiting()
        found = {
            "device": station.device,
            "line": line,
            "running": "yes" if running else "no",
            **{str(slot): row.digest if row else None for slot, row in slots.items()},
            "update": str(update.state) if update else None,
            "share": update.target.assignment.share if update else None,
            "update_digest": update.target.digest if update else None,
            "update_failure": update.failure if update else None,
            "update_reason": update.reason if update else None,
            "update_locked": "yes" if durable.update_locked(line) else "no",
            "epoch_floor": durable.memory.floor(line),
            "spool_records": waiting,
            "spool_bytes": size,
            "last_part": durable.last_part(station.source.camera),
        }
    return found | {"live": live_state(station.data.folder) if running else None}
