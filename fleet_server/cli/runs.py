"""Training runs, from the command line."""

import time
from typing import Annotated, Any

import typer

from fleet_contract.errors import LoupeError
from fleet_server.cli.client import client
from fleet_server.cli.fleet import Json
from fleet_server.cli.output import moment, say, short, show_fields, show_json, show_table

run_app = typer.Typer(no_args_is_help=True, help="Training runs.")

_ENDED = ("succeeded", "failed", "cancelled")


@run_app.command("list")
def runs(context: typer.Context, line: str | None = None, as_json: Json = False) -> None:
    """Runs, the latest first."""
    rows = client(context).get("/runs", line=line)
    if as_json:
        show_json(rows)
        return
    show_table(
        "Training runs",
        rows,
        {
            "id": lambda r: r["id"],
            "line": lambda r: r["line"],
            "state": lambda r: r["state"],
            "progress": lambda r: f"{r['progress']:.0%}",
            "worker": lambda r: r["worker"] or "-",
            "why": lambda r: ", ".join(dict.fromkeys(c["kind"] for c in r["causes"])) or "-",
            "bundle": lambda r: short(r["bundle"]),
            "queued": lambda r: moment(r["created_at"]),
        },
    )


@run_app.command("show")
def run(context: typer.Context, run: str, as_json: Json = False) -> None:
    """One run with its log."""
    api = client(context)
    found, log = api.get(f"/runs/{run}"), api.get(f"/runs/{run}/logs")
    if as_json:
        show_json({**found, "log": log})
        return
    names = ("id", "line", "state", "message", "worker", "attempts", "dataset", "champion",
             "bundle", "result", "error")  # fmt: skip
    why = [("why", _cause(cause)) for cause in found["causes"]]
    show_fields([*((name, found[name]) for name in names), *why])
    for entry in log:
        say(f"{moment(entry['at'])}  {entry['text']}")


def _cause(cause: dict[str, Any]) -> str:
    times = f", {cause['times']} times" if cause["times"] > 1 else ""
    text = f": {cause['text']}" if cause["text"] else ""
    return f"{cause['kind']}{text}, by {cause['by']} at {moment(cause['at'])}{times}"


@run_app.command("queue")
def queue(
    context: typer.Context,
    line: str,
    with_labels: Annotated[
        bool, typer.Option(help="First make a dataset version of the line's new labels.")
    ] = False,
) -> None:
    """Train on the line's dataset, as it is when a worker takes the run."""
    api = client(context)
    body = {"line": line, "by": api.by, "via": "command line", "take_labels": with_labels}
    run = api.post("/runs", body)
    joined = sum(cause["times"] for cause in run["causes"]) > 1
    say(
        f"Run {run['id']} waits already; it takes this in."
        if joined
        else f"Queued run {run['id']}."
    )


@run_app.command("outlook")
def outlook(context: typer.Context, as_json: Json = False) -> None:
    """What each line trains from, and what starts its next run by itself."""
    rows = client(context).get("/runs/outlook")
    if as_json:
        show_json(rows)
        return
    show_table(
        "Lines",
        rows,
        {
            "line": lambda o: o["line"],
            "dataset": lambda o: short(o["dataset"]),
            "new labels": lambda o: str(o["new_labels"]),
            "runs after": lambda o: str(o["after_labels"] or "-"),
            "schedule": lambda o: o["schedule"] or "-",
            "next": lambda o: moment(o["next_at"]) if o["next_at"] else "-",
            "note": lambda o: o["note"] or "-",
        },
    )


@run_app.command("follow")
def follow(
    context: typer.Context,
    run: str,
    every: Annotated[float, typer.Option(help="Seconds between two looks.")] = 1.0,
) -> None:
    """Print a run's log as it grows, until the run ends; exit code 2 unless it succeeded."""
    api, after = client(context), 0
    while True:
        # The state first: once it is ended, the log that is read after it is whole.
        found = api.get(f"/runs/{run}")
        while entries := api.get(f"/runs/{run}/logs", after=after):
            for entry in entries:
                say(f"{moment(entry['at'])}  {entry['text']}")
            after = entries[-1]["id"]
        if found["state"] in _ENDED:
            break
        time.sleep(every)
    said = found["result"] or found["error"]
    if found["state"] != "succeeded":
        raise LoupeError(f"run {run} {found['state']}: {said or 'no reason was given'}")
    say(f"Run {run} succeeded. {said}")


@run_app.command("cancel")
def cancel(context: typer.Context, run: str) -> None:
    """End a run; its worker stops at its next heartbeat."""
    api = client(context)
    say(f"Run {run}: {api.post(f'/runs/{run}/cancel', {'by': api.by})['state']}.")


@run_app.command("retry")
def retry(context: typer.Context, run: str) -> None:
    """Queue a failed or cancelled run again."""
    api = client(context)
    say(f"Run {run}: {api.post(f'/runs/{run}/retry', {'by': api.by})['state']}.")
