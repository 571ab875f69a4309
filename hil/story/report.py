"""The story's report: read back from the server's database and the agents' own, set by nobody.

The one other source is the cameras' own trigger counters: lost parts = triggers - stored verdicts.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from hil.story.settings import AGEING
from hil.story.world import World

Row = dict[str, Any]
_JSON = ("body", "data", "evidence", "describe", "evaluation", "lineage", "encodings", "plan",
         "numbers", "comparison", "state_json", "signed_by")  # fmt: skip


def read_report(world: World) -> Row:
    """The report as JSON values."""
    with closing(_open(world.server / "loupe.db")) as db:
        return {
            "parts": _parts(db, world),
            "bundles": [_bundle(row) for row in _rows(db, "SELECT * FROM release ORDER BY created_at")],
            "push": _push(db, world),
            "drift": _drift(db, world),
            "runs": list(_runs(db)),
            "rollouts": [_rollout(db, row) for row in _rows(db, "SELECT * FROM rollout ORDER BY id")],
            "refused": list(_refused(db)),
            "versions": _versions(db),
            "agents": {name: _agent(s.folder) for name, s in world.stations.items()},
            "audit_entries": _rows(db, "SELECT count(*) AS n FROM auditentry")[0]["n"],
        }  # fmt: skip


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    return db


def _rows(db: sqlite3.Connection, sql: str, *values: object) -> list[Row]:
    rows = [dict(row) for row in db.execute(sql, values)]
    for row in rows:
        for name in _JSON:
            if isinstance(row.get(name), str):
                row[name] = json.loads(row[name])
    return rows


def _parts(db: sqlite3.Connection, world: World) -> Row:
    stations = {}
    for name in world.stations:
        rows = _rows(db, "SELECT body FROM partsrow WHERE device = ?", name)
        verdicts = [verdict for row in rows for verdict in row["body"]]
        numbers = {verdict["number"] for verdict in verdicts}
        triggers = world.marks[f"triggers {name}"]
        stations[name] = {
            "triggers": triggers,
            "verdicts": len(numbers),
            "counted_twice": len(verdicts) - len(numbers),
            "lost": triggers - len(numbers),
            "no_decision": sum(verdict["verdict"] == "no_decision" for verdict in verdicts),
        }
    return {
        "inspected": sum(row["verdicts"] for row in stations.values()),
        "lost": sum(row["lost"] for row in stations.values()),
        "no_decision": sum(row["no_decision"] for row in stations.values()),
        "stations": stations,
    }


def _bundle(row: Row) -> Row:
    models = row["evaluation"]["models"]
    flips = {key: model["flips"] for key, model in models.items() if "flips" in model}
    return {
        "digest": row["digest"],
        "line": row["line"],
        "state": row["state"],
        "signatures": len(row["signed_by"]),
        "precision": row["describe"]["precisions"],
        "runtimes": row["describe"]["runtimes"],
        "size_bytes": row["length"],
        "auroc_fp32": models["onnx/fp32"]["image_auroc"],
        "auroc_int8": models["onnx/int8"]["image_auroc"],
        "flips": max(flips.values()),
        "flips_by_model": flips,
        "lineage": row["lineage"],
    }


def _push(db: sqlite3.Connection, world: World) -> Row:
    """The first bundle's way: from the first device that joined to the last one that verified it."""
    digest = world.digests["champion"]
    rows = _rows(db, "SELECT * FROM push WHERE bundle = ?", digest)
    verified = _rows(
        db,
        "SELECT max(time_s) AS at FROM eventrow WHERE kind = 'update' AND digest = ?"
        " AND json_extract(data, '$.state') = 'verified'",
        digest,
    )
    return {
        "transport": "mqtt",
        "bytes": sum(row["bytes_broadcast"] + row["bytes_unicast"] for row in rows),
        "seconds": round(verified[0]["at"] - min(row["opened_at"] for row in rows), 3),
        "devices": sorted({name for row in rows for name in json.loads(row["joined"])}),
    }


def _drift(db: sqlite3.Connection, world: World) -> Row:
    incidents = _rows(db, "SELECT * FROM incident ORDER BY id")
    true = [row for row in incidents if row["device"] == AGEING and row["cause"] == "light"]
    first = true[0] if true else None
    return {
        "station": first["device"] if first else None,
        "cause": first["cause"] if first else None,
        "parts_until_alarm": _parts_until(db, world, first) if first else None,
        "false_alarms": len(incidents) - len(true[:1]),
        "incidents": [
            {key: row[key] for key in ("id", "device", "cause", "state", "parts_until_alarm")}
            for row in incidents
        ],
    }  # fmt: skip


def _parts_until(db: sqlite3.Connection, world: World, incident: Row) -> int:
    """Parts of the station from the trigger at which its lamp began to age to the alarm."""
    seen = _rows(
        db,
        "SELECT max(last_part) AS part FROM partsrow WHERE device = ? AND received_at <= ?",
        incident["device"],
        incident["opened_at"],
    )
    return int(seen[0]["part"]) - world.marks["ageing"] + 1


def _runs(db: sqlite3.Connection) -> Iterator[Row]:
    for row in _rows(db, "SELECT * FROM trainingrun ORDER BY created_at"):
        dataset = _rows(db, "SELECT * FROM datasetrow WHERE digest = ?", row["dataset"])[0]
        leases = _rows(
            db,
            "SELECT actor FROM auditentry WHERE action = 'run.lease' AND subject = ?",
            row["id"],
        )
        yield {
            "id": row["id"],
            "state": row["state"],
            "incident": row["incident"],
            "leased_by": [lease["actor"] for lease in leases],
            "bundle": row["bundle"],
            "dataset": row["dataset"],
            "dataset_parent": dataset["parent"],
            "holdout": dataset["holdout"],
            "comparison": row["comparison"],
        }


def _rollout(db: sqlite3.Connection, row: Row) -> Row:
    names = [stage["name"] for stage in row["plan"]["stages"]]
    decisions = _rows(
        db,
        "SELECT * FROM gatedecision WHERE id IN"
        " (SELECT max(id) FROM gatedecision WHERE rollout = ? GROUP BY stage) ORDER BY stage",
        row["id"],
    )
    return {
        "digest": row["digest"],
        "champion": row["champion"],
        "stages": [
            {"name": names[decision["stage"]], "decision": decision["decision"],
             "text": decision["text"], "numbers": decision["numbers"]}
            for decision in decisions
        ],
        "outcome": row["state"],
        "reason": row["reason"],
    }  # fmt: skip


def _refused(db: sqlite3.Connection) -> Iterator[Row]:
    """What the devices stopped by themselves, and what the gates took back; each reason once."""
    seen = set()
    events = _rows(
        db,
        "SELECT * FROM eventrow WHERE kind = 'refused'"
        " OR (kind = 'update' AND json_extract(data, '$.failure') != '') ORDER BY id",
    )
    for row in events:
        failure = row["data"].get("failure") or row["data"].get("class") or "trust"
        key = (row["digest"], failure)
        if key not in seen:
            seen.add(key)
            yield {"by": row["device"], "class": failure, "digest": row["digest"],
                   "reason": row["text"]}  # fmt: skip
    for row in _rows(db, "SELECT * FROM rollout WHERE state = 'rolled_back' ORDER BY id"):
        yield {"by": "gate", "class": "gate", "digest": row["digest"], "reason": row["reason"]}


def _versions(db: sqlite3.Connection) -> Row:
    devices = _rows(db, "SELECT name, state AS state_json FROM device ORDER BY name")
    releases = _rows(db, "SELECT lineage FROM release ORDER BY created_at LIMIT 1")
    return {
        "agents": {row["name"]: row["state_json"]["agent_version"] for row in devices},
        "runtimes": {row["name"]: row["state_json"]["runtime"] for row in devices},
        "training": releases[0]["lineage"]["environment"],
    }


def _agent(folder: Path) -> Row:
    """What the agent's own database says."""
    path = next((folder / "data").glob("*.db"))
    with closing(_open(path)) as db:
        slots = {row["slot"]: row["digest"] for row in _rows(db, "SELECT * FROM slots")}
        outcomes = _rows(db, "SELECT digest, attempt, outcome FROM outcomes")
        waiting = _rows(db, "SELECT records FROM usage")[0]["records"]
    return {"slots": slots, "outcomes": outcomes, "unacknowledged": waiting}
