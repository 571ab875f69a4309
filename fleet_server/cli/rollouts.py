"""`loupe rollout`: start, watch, pause and end rollouts."""

import json
import time
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet_contract.errors import ConfigError
from fleet_server.cli.client import client
from fleet_server.cli.output import moment, short, show_fields, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="Releases on their way to devices.")

Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Number = Annotated[int, typer.Argument(help="The rollout's number.")]
_ENDED = ("completed", "aborted", "rolled_back")
_LOOK_S = 1.0


def _say(text: str) -> None:
    Console(soft_wrap=True, highlight=False, markup=False).print(text)


@app.command()
def start(
    ctx: typer.Context,
    digest: Annotated[str, typer.Argument(help="The release's digest, or its beginning.")],
    plan: Annotated[
        Path | None, typer.Option(help="TOML or JSON with `stages`; default: shadow, canary, all.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Begin once the release is approved.")] = False,
    as_json: Json = False,
) -> None:
    """Start a rollout of an approved release."""
    body = {"digest": digest, "plan": _read_plan(plan) if plan else None, "wait": wait}
    api = client(ctx)
    row = api.post("/rollouts", body, by=api.by)
    if as_json:
        show_json(row)
        return
    _say(
        f"Rollout {row['id']} of {short(row['digest'])}: {row['state']}, stage {row['stage_name']}."
    )


def _read_plan(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        content: dict[str, Any] = (
            json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        )
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", found=error.strerror or str(error)) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not a plan in TOML or JSON", found=str(error)) from error
    return content


@app.command("list")
def list_rollouts(
    ctx: typer.Context,
    line: Annotated[str | None, typer.Option(help="Only this line's.")] = None,
    as_json: Json = False,
) -> None:
    """Rollouts, the latest first."""
    rows = client(ctx).get("/rollouts", line=line)
    if as_json:
        show_json(rows)
        return
    show_table(
        "Rollouts",
        rows,
        {
            "number": lambda row: str(row["id"]),
            "line": lambda row: row["line"],
            "bundle": lambda row: short(row["digest"]),
            "champion then": lambda row: short(row["champion"]),
            "state": lambda row: row["state"],
            "stage": lambda row: row["stage_name"],
            "started": lambda row: moment(row["created_at"]),
        },
    )


@app.command()
def show(ctx: typer.Context, number: Number, as_json: Json = False) -> None:
    """One rollout with its devices and gate decisions."""
    row = client(ctx).get(f"/rollouts/{number}")
    if as_json:
        show_json(row)
        return
    show_fields(
        [
            ("rollout", row["id"]),
            ("bundle", row["digest"]),
            ("champion then", row["champion"] or "none"),
            ("state", row["state"]),
            ("stages", " > ".join(row["stages"])),
            ("stage", row["stage_name"]),
            ("reason", row["reason"] or "-"),
            ("started", f"{moment(row['created_at'])} by {row['created_by']}"),
            ("ended", moment(row["ended_at"])),
        ]
    )
    show_table(
        "Devices",
        row["devices"],
        {
            "device": lambda one: one["device"],
            "slot": lambda one: (
                one["slot"] + (f" {100 * one['share']:g} %" if one["share"] else "")
            ),
            "state": lambda one: one["state"],
            "failure": lambda one: one["failure"] or "-",
            "reason": lambda one: one["reason"] or "-",
        },
    )
    show_table(
        "Decisions",
        row["decisions"][-20:],
        {
            "at": lambda one: moment(one["at"]),
            "stage": lambda one: one["stage_name"],
            "decision": lambda one: one["decision"],
            "why": lambda one: one["text"],
        },
    )


@app.command()
def watch(ctx: typer.Context, number: Number) -> None:
    """Follow a rollout until it ends; exit code 0 where it completed, 1 where it did not."""
    api, told = client(ctx), ""
    while True:
        row = api.get(f"/rollouts/{number}")
        last = row["decisions"][-1] if row["decisions"] else None
        line = f"{last['stage_name']}: {last['decision']}, {last['text']}" if last else row["state"]
        if line != told:
            _say(line)
            told = line
        if row["state"] in _ENDED:
            _say(f"Rollout {number} is {row['state'].replace('_', ' ')}: {row['reason']}")
            raise typer.Exit(0 if row["state"] == "completed" else 1)
        time.sleep(_LOOK_S)


@app.command()
def pause(
    ctx: typer.Context,
    number: Number,
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")] = "",
) -> None:
    """Stop the gates; devices keep what they have."""
    api = client(ctx)
    row = api.post(f"/rollouts/{number}/pause", {"reason": reason}, by=api.by)
    _say(f"Rollout {number} is {row['state']}.")


@app.command()
def resume(ctx: typer.Context, number: Number) -> None:
    """Let the gates judge again; the stage begins anew."""
    api = client(ctx)
    row = api.post(f"/rollouts/{number}/resume", by=api.by)
    _say(f"Rollout {number} is {row['state']}.")


@app.command()
def abort(
    ctx: typer.Context,
    number: Number,
    keep: Annotated[bool, typer.Option(help="Devices that run the bundle stay with it.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")] = "",
) -> None:
    """End a rollout; devices go back to the champion."""
    api = client(ctx)
    row = api.post(f"/rollouts/{number}/abort", {"keep": keep, "reason": reason}, by=api.by)
    _say(f"Rollout {number} is {row['state']}.")
