"""`loupe trace`: where a part's verdict came from."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from fleet_server.cli.client import client
from fleet_server.cli.output import moment, show_fields, show_json, show_table


def trace(
    context: typer.Context,
    part: Annotated[str, typer.Argument(help="device:spool:number.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """A part's verdict, and the bundle, dataset, approvals and gates behind it."""
    found = client(context).get(f"/trace/{part}")
    if as_json:
        show_json(found)
        return
    show_fields(_fields(found))
    show_table(
        "Gates passed",
        found["passed"],
        {
            "rollout": lambda gate: str(gate["rollout"]),
            "stage": lambda gate: gate["stage"],
            "at": lambda gate: moment(gate["at"]),
            "on": lambda gate: gate["text"],
        },
    )


def _fields(found: dict[str, Any]) -> Iterator[tuple[str, object]]:
    verdict, release = found["verdict"], found["release"]
    yield "verdict", f"{verdict['verdict']} {verdict['reason']}".strip()
    yield "score", verdict["score"]
    yield "judged", moment(verdict["time_s"])
    yield "line, camera", f"{found['line']}, {found['camera']}"
    yield "bundle", verdict["digest"] or "none judged it"
    if release is None:
        return
    lineage = release["lineage"]
    yield "dataset", lineage.get("dataset", "-")
    yield "code", lineage.get("code", "-")
    yield "configuration", lineage.get("config", "-")
    yield "seed", lineage.get("seed", "-")
    yield "approved", f"{moment(release['approved_at'])}, {len(release['signed_by'])} signatures"
    yield "signed by", ", ".join(release["signed_by"])
    for name, value in release["evaluation"].items():
        yield f"evaluation: {name}", value
