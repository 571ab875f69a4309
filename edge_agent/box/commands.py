"""`loupe-agent status | logs | snapshot | replay | doctor | rollback | lock | unlock | reload | calibrate`."""

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge_agent.config import StationConfig, load_config
from fleet_contract.errors import ConfigError, StateError
from fleet_contract.names import Slot

if TYPE_CHECKING:
    from edge_agent.box.doctor import Finding

ConfigPath = Annotated[Path, typer.Option("--config", help="The station's configuration (TOML).")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one object on the last line.")]
LineName = Annotated[str, typer.Option("--line", help="The line, by its name.")]
SICK_EXIT = 1
"""`doctor` found a fault."""


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (status, logs, snapshot, replay, doctor, rollback, lock, unlock, reload,
                    calibrate):  # fmt: skip
        app.command()(command)


def _print_json(found: Any) -> None:
    typer.echo(json.dumps(found))


def status(config: ConfigPath, as_json: AsJson = False) -> None:
    """What the station runs, from its own records; works without the agent and the network."""
    from edge_agent.box.records import facts

    found = facts(load_config(config))
    if as_json:
        _print_json(found)
        return
    live = found.pop("live")
    table = Table(show_header=False)
    for name, value in {**found, **_live_rows(live)}.items():
        table.add_row(name, "-" if value is None else str(value))
    Console().print(table)
    if found["running"] == "no":
        typer.echo("The agent is not running: this is what it left.")


def _live_rows(live: dict[str, Any] | None) -> dict[str, Any]:
    if live is None:
        return {}
    health = live["health"]
    rows = {
        "judges parts": "yes" if live["inspecting"] else "no",
        "link": "online" if live["online"] else "offline",
        "parts": f"{health['parts']} ({health['parts_per_s']:g} a second)",
        "memory": f"{health['rss_bytes'] / 1e6:.0f} MB",
    }
    lost = {name: "lost" if output["lost"] else "ok" for name, output in live["outputs"].items()}
    return rows | lost


def logs(
    config: ConfigPath,
    lines: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    level: Annotated[str, typer.Option(help="This or worse.")] = "INFO",
    as_json: AsJson = False,
) -> None:
    """The agent's last log lines, also of an agent that ended."""
    from edge_agent.box.logs import LEVELS, last_lines

    if level.upper() not in LEVELS:
        raise ConfigError("no such level", expected=", ".join(LEVELS), found=level)
    found = last_lines(load_config(config).data.folder, lines, level.upper())
    if as_json:
        _print_json({"lines": found})
        return
    for line in found:
        typer.echo(f"{line['time']} {line['level']:7} {line['logger']}: {line['text']}")
        if "error" in line:
            typer.echo(line["error"])


def snapshot(
    config: ConfigPath,
    out: Annotated[Path, typer.Option(help="Where the PNG goes.")] = Path("snapshot.png"),
) -> None:
    """The running agent's next frame, with its verdict and heat map, as a PNG."""
    from edge_agent.box.client import fetch

    image = fetch(load_config(config).data.folder, "/snapshot.png")
    try:
        out.write_bytes(image)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error}") from error
    typer.echo(f"{out}: {len(image)} bytes")


def replay(
    folder: Annotated[Path, typer.Argument(help="Images; judged in the order of their names.")],
    config: ConfigPath,
    recipe: Annotated[str, typer.Option(help="The recipe to judge by.")] = "",
    as_json: AsJson = False,
) -> None:
    """Judge the images of a folder with the active bundle, beside the running agent."""
    from edge_agent.box import replay as replaying
    from edge_agent.box.records import records
    from edge_agent.loaded import load_bundle
    from edge_agent.update.bundles import BundleStore
    from fleet_contract.board import read_board

    station = load_config(config)
    paths = replaying.images(folder)
    with records(station) as durable:
        active = durable.slots.get(station.line.name, Slot.ACTIVE)
    if active is None:
        raise StateError(
            f"line {station.line.name} has no active bundle", remedy="Assign one on the server."
        )
    store = BundleStore(station.data.folder, station.data.disk_reserve)
    board = read_board(station.board.file)
    plan = station.plan
    loaded = load_bundle(store.folder(active.digest), active.digest, board, plan.uncalibrated)
    model = loaded.model
    rows = list(replaying.replay(model, paths, recipe, plan.views[0].mm_per_pixel))
    threshold = model.manifest.decision.for_recipe(recipe).threshold
    found = replaying.summary(active.digest, threshold, rows)
    if as_json:
        _print_json(found)
        return
    table = Table("image", "verdict", "score", "ms", "")
    for row in rows:
        score = "-" if row.score is None else f"{row.score:.4f}"
        table.add_row(row.file, row.verdict, score, f"{row.latency_ms:.1f}", row.reason)
    Console().print(table)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found["counts"].items())
    typer.echo(f"bundle {active.digest[:12]}, threshold {threshold:g}: {counts}")


def calibrate(
    image: Annotated[Path, typer.Argument(help="A picture of the board, as the camera gives it.")],
    pitch: Annotated[
        float, typer.Option(min=1e-6, help="From point to point of the board, in mm.")
    ],
    dots: Annotated[str, typer.Option(help="A grid of dots: columns and rows, as 11x7.")] = "",
    as_json: AsJson = False,
) -> None:
    """How large a pixel is, from a board that lies where parts lie: the line for station.toml."""
    from edge_agent.calibrate import calibrate as measured

    found = measured(image, pitch, _grid(dots) if dots else None)
    if as_json:
        _print_json(asdict(found))
        return
    typer.echo(
        f"{found.columns}x{found.rows} points over {found.covers:.0%} of the picture, "
        f"{found.residual_px:.2f} px off a plane grid; a pixel differs by {found.spread:.2%} over the "
        f"board, and by {found.stretch:.2%} between its sides. Under [source], or [[cameras]]:"
    )
    typer.echo(f"mm_per_pixel = {found.mm_per_pixel:.6g}")


def _grid(text: str) -> tuple[int, int]:
    columns, _, rows = text.partition("x")
    if columns.isdigit() and rows.isdigit() and min(int(columns), int(rows)) >= 3:
        return int(columns), int(rows)
    raise ConfigError("--dots is not understood", expected="columns and rows, as 11x7", found=text)


def doctor(config: ConfigPath, as_json: AsJson = False) -> None:
    """Look for the commonest faults of an installation, each with its remedy; exit 1 where there is one."""
    from edge_agent.box.doctor import examine

    findings = examine(config)
    if as_json:
        _print_json({"healthy": _healthy(findings), "findings": [f.as_dict() for f in findings]})
    else:
        for finding in findings:
            typer.echo(f"{finding.grade:7} {finding.check}: {finding.text}")
            if finding.remedy:
                typer.echo(f"        {finding.remedy}")
    if not _healthy(findings):
        raise typer.Exit(SICK_EXIT)


def _healthy(findings: "list[Finding]") -> bool:
    return not any(finding.grade == "fault" for finding in findings)


def rollback(config: ConfigPath, line: LineName) -> None:
    """Back to the line's previous bundle, here and now, without the server."""
    from edge_agent.box.records import check_line, roll_back

    station = load_config(config)
    check_line(station, line)
    typer.echo(roll_back(station))


def lock(config: ConfigPath, line: LineName) -> None:
    """Not now: the line takes no new bundle until `unlock`."""
    _lock(load_config(config), line, locked=True)


def unlock(config: ConfigPath, line: LineName) -> None:
    """The line takes new bundles again."""
    _lock(load_config(config), line, locked=False)


def reload(config: ConfigPath) -> None:
    """Have the running agent read its configuration anew; it tells what applies and what does not."""
    from edge_agent.box.records import owner

    station = load_config(config)
    process = owner(station)
    if not process:
        raise StateError(
            f"no agent runs in {station.data.folder}",
            remedy="It reads its configuration when it starts.",
        )
    os.kill(process, signal.SIGHUP)
    typer.echo(
        "The agent reads it; `loupe-agent logs` says what applies, and what needs a restart."
    )


def _lock(station: StationConfig, line: str, *, locked: bool) -> None:
    from edge_agent.box.records import check_line, lock_updates

    check_line(station, line)
    typer.echo(lock_updates(station, locked=locked))
