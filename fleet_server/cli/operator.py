"""`loupe`: the operator's command line over the HTTP API."""

import getpass
from typing import Annotated

import typer

from fleet_server.cli.client import ApiClient, client
from fleet_server.cli.fleet import Json, audit_app, baseline_app, device_app, incident_app
from fleet_server.cli.learning import dataset_app, label_app, line_app
from fleet_server.cli.output import run_app as run_command_line
from fleet_server.cli.output import show_fields, show_json
from fleet_server.cli.releases import app as release_app
from fleet_server.cli.rollouts import app as rollout_app
from fleet_server.cli.runs import run_app
from fleet_server.cli.trace import trace

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for _name, _commands in {
    "device": device_app,
    "baseline": baseline_app,
    "incident": incident_app,
    "line": line_app,
    "label": label_app,
    "dataset": dataset_app,
    "run": run_app,
    "release": release_app,
    "rollout": rollout_app,
    "audit": audit_app,
}.items():
    app.add_typer(_commands, name=_name)
app.command("trace")(trace)


@app.callback()
def connect(
    context: typer.Context,
    server: Annotated[
        str, typer.Option(envvar="LOUPE_SERVER", help="The server's address.")
    ] = "http://127.0.0.1:8420",
    by: Annotated[
        str | None, typer.Option(help="Who acts, for the audit log; your login without it.")
    ] = None,
) -> None:
    """Look after a fleet of Loupe devices."""
    context.obj = ApiClient(server, by or getpass.getuser())


@app.command("health")
def health(context: typer.Context, as_json: Json = False) -> None:
    """Whether the server and its broker are there."""
    found = client(context).get("/health")
    if as_json:
        show_json(found)
        return
    show_fields(found.items())


def main() -> None:
    """Entry point."""
    run_command_line(app)
