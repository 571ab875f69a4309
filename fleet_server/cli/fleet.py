"""Devices, baselines, incidents and the audit log, from the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fleet_contract.errors import LoupeError
from fleet_server.cli.client import client
from fleet_server.cli.output import moment, say, show_fields, show_json, show_table

Json = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]

device_app = typer.Typer(no_args_is_help=True, help="Devices of the fleet.")
baseline_app = typer.Typer(no_args_is_help=True, help="What is normal, accepted by a person.")
incident_app = typer.Typer(no_args_is_help=True, help="What drifted, and what follows.")
audit_app = typer.Typer(no_args_is_help=True, help="Who did what; hash-chained.")


def _active(device: dict[str, Any]) -> str:
    lines = (device["state"] or {}).get("lines", {})
    shown = [
        f"{line}: {slot['digest'][:12]}" if (slot := state.get("active")) else f"{line}: none"
        for line, state in lines.items()
    ]
    return ", ".join(shown) or "-"


def _is_there(device: dict[str, Any]) -> str:
    if device["clone_since"]:
        return "clone"
    return "online" if device["online"] else "offline"


@device_app.command("list")
def devices(context: typer.Context, line: str | None = None, as_json: Json = False) -> None:
    """All devices, or those of a line."""
    rows = client(context).get("/devices", line=line)
    if as_json:
        show_json(rows)
        return
    show_table(
        "Devices",
        rows,
        {
            "name": lambda d: d["name"],
            "state": _is_there,
            "line": lambda d: d["line"] or "-",
            "hardware": lambda d: d["hardware"] or "-",
            "active bundle": _active,
            "last seen": lambda d: moment(d["last_seen"]),
            "bad messages": lambda d: str(d["bad_messages"]),
        },
    )


@device_app.command("show")
def device(context: typer.Context, name: str, as_json: Json = False) -> None:
    """One device: state, health, how far its picture has moved."""
    api = client(context)
    found, parts = api.get(f"/devices/{name}"), api.get("/parts/summary", device=name)
    if as_json:
        show_json({**found, "parts": parts})
        return
    show_fields(
        [
            ("name", found["name"]),
            ("state", _is_there(found)),
            ("hardware", found["hardware"]),
            ("active bundle", _active(found)),
            ("last seen", moment(found["last_seen"])),
            *(
                (f"parts, {p['camera']}", f"{p['counted']} ({p['first']} to {p['last']}), "
                 f"{p['missing']} missing, {p['reject']} rejected, {p['no_decision']} undecided")
                for p in parts
            ),
            *((f"drift, {_place(d)}", _strongest(d)) for d in found["drift"]),
            ("bad messages", f"{found['bad_messages']} {found['last_bad']}"),
        ]
    )  # fmt: skip


def _place(found: dict[str, Any]) -> str:
    return f"{found['camera']}, {found['recipe']}" if found["recipe"] else str(found["camera"])


def _strongest(drift: dict[str, Any]) -> str:
    if drift["baseline"] is None:
        return f"no baseline yet ({drift['collected']} windows collected)"
    moved = {**drift["image"], **drift["scores"]}
    most = sorted(moved.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{name} {value:.1f}" for name, value in most) or "nothing yet"


@device_app.command("sample")
def sample(context: typer.Context, name: str, count: int = 20) -> None:
    """Ask a device to send its next parts as samples."""
    api = client(context)
    body = {"op": "sample", "count": count, "by": api.by}
    answer = api.post(f"/devices/{name}/commands", body)
    say(f"Asked {name} for {count} samples (command {answer['id']}).")


@device_app.command("restart")
def restart(context: typer.Context, name: str) -> None:
    """Order a device's agent to restart."""
    api = client(context)
    answer = api.post(f"/devices/{name}/commands", {"op": "restart", "by": api.by})
    say(f"Asked {name} to restart (command {answer['id']}).")


@device_app.command("clear-clone")
def clear_clone(context: typer.Context, name: str) -> None:
    """Say that one device reports under this name again."""
    api = client(context)
    api.post(f"/devices/{name}/clear-clone", {"by": api.by})
    say(f"{name} is held to be one device again.")


@device_app.command("events")
def events(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Device; all of them without it.")] = None,
    kind: str | None = None,
    limit: int = 30,
    as_json: Json = False,
) -> None:
    """What happened, the latest first."""
    rows = client(context).get("/events", device=name, kind=kind, limit=limit)
    if as_json:
        show_json(rows)
        return
    show_table(
        "Events",
        rows,
        {
            "time": lambda e: moment(e["time_s"]),
            "device": lambda e: e["device"],
            "kind": lambda e: e["kind"],
            "severity": lambda e: e["severity"],
            "text": lambda e: e["text"],
        },
    )


@baseline_app.command("list")
def baselines(context: typer.Context, device: str | None = None, as_json: Json = False) -> None:
    """Baselines, the latest first."""
    rows = client(context).get("/baselines", device=device)
    if as_json:
        show_json(rows)
        return
    show_table(
        "Baselines",
        rows,
        {
            "id": lambda b: str(b["id"]),
            "device": lambda b: b["device"],
            "line": lambda b: b["line"],
            "camera": lambda b: b["camera"],
            "recipe": lambda b: b["recipe"] or "-",
            "state": lambda b: b["state"],
            "windows": lambda b: str(b["windows"]),
            "from": lambda b: moment(b["start_s"]),
            "accepted by": lambda b: b["accepted_by"] or "-",
        },
    )


@baseline_app.command("accept")
def accept(context: typer.Context, baseline: int) -> None:
    """Say that this period was right: from now on windows are compared with it."""
    api = client(context)
    found = api.post(f"/baselines/{baseline}/accept", {"by": api.by})
    say(f"Accepted baseline {baseline} of {found['device']}.")


@baseline_app.command("renew")
def renew(context: typer.Context, device: str, line: str, camera: str) -> None:
    """Retire a camera's baseline; the next windows make a new proposal."""
    api = client(context)
    body = {"device": device, "line": line, "camera": camera, "by": api.by}
    api.post("/baselines/renew", body)
    say(f"Collecting windows of {device} for a new proposal.")


@incident_app.command("list")
def incidents(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    as_json: Json = False,
) -> None:
    """Incidents, the latest first."""
    rows = client(context).get("/incidents", state=None if everything else "open")
    if as_json:
        show_json(rows)
        return
    show_table(
        "Incidents",
        rows,
        {
            "id": lambda i: str(i["id"]),
            "device": lambda i: i["device"],
            "cause": lambda i: i["cause"],
            "state": lambda i: i["state"],
            "opened": lambda i: moment(i["opened_at"]),
            "parts until alarm": lambda i: str(i["parts_until_alarm"]),
            "note": lambda i: i["note"],
        },
    )


@incident_app.command("close")
def close(
    context: typer.Context,
    incident: int,
    note: str = "",
    false_alarm: Annotated[bool, typer.Option(help="There was no drift at all.")] = False,
    rebaseline: Annotated[bool, typer.Option(help="What is now is right from now on.")] = False,
) -> None:
    """Close an incident."""
    api = client(context)
    body = {"by": api.by, "note": note, "false_alarm": false_alarm, "rebaseline": rebaseline}
    api.post(f"/incidents/{incident}/close", body)
    say(f"Closed incident {incident}.")


@audit_app.command("list")
def audit(
    context: typer.Context, subject: str | None = None, limit: int = 30, as_json: Json = False
) -> None:
    """Entries, the latest first."""
    rows = client(context).get("/audit", subject=subject, limit=limit)
    if as_json:
        show_json(rows)
        return
    show_table(
        "Audit log",
        rows,
        {
            "seq": lambda e: str(e["seq"]),
            "time": lambda e: moment(e["at"]),
            "actor": lambda e: e["actor"],
            "action": lambda e: e["action"],
            "subject": lambda e: e["subject"][:40],
            "hash": lambda e: e["hash"][:12],
        },
    )


@audit_app.command("verify")
def verify(
    context: typer.Context,
    save: Annotated[Path | None, typer.Option(help="File for the head's hash.")] = None,
) -> None:
    """Walk the whole chain; exit code 2 where it is broken."""
    found = client(context).get("/audit/verify")
    if not found["whole"]:
        raise LoupeError(
            f"the audit log is broken at entry {found['broken_at']}",
            remedy="Someone changed it; compare with a backup.",
        )
    if save:
        save.write_text(found["head"] + "\n", "utf-8")
    say(f"{found['entries']} entries, whole; head {found['head']}")
