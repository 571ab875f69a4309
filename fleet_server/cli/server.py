"""`loupe-server`: makes a server's folder, adds devices to it, runs it."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from fleet_contract.clock import SystemClock
from fleet_contract.errors import ResourceError, StateError
from fleet_server import pki, serving
from fleet_server.broker import prepare_broker
from fleet_server.cli.keyfiles import passphrase_in
from fleet_server.cli.keys import app as keys_app
from fleet_server.cli.output import run_app, say
from fleet_server.config import FILE_NAME, read_config, render_config
from fleet_server.db.engine import Database
from fleet_server.db.migrate import upgrade
from fleet_server.registry.service import add_device
from fleet_server.store import Store
from fleet_server.trust import setup as trust

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
device_app = typer.Typer(no_args_is_help=True, help="Devices of this server.")
app.add_typer(device_app, name="device")
app.add_typer(keys_app, name="keys")

Folder = Annotated[Path, typer.Option("--dir", "--server", help="The server's folder.")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    http_port: Annotated[int, typer.Option(help="Port of the console and the API.")] = 8420,
    broker_port: Annotated[int, typer.Option(help="Port of the broker.")] = 8883,
    broker_host: Annotated[
        str, typer.Option(help="Name or address by which other machines reach the broker.")
    ] = "",
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help="File whose first line encrypts the keys that are to be taken offline."),
    ] = None,
) -> None:
    """Make a server's folder: keys, certificates, broker, database, trust repositories."""
    if (folder / FILE_NAME).exists():
        raise StateError(
            f"{folder} holds a server already",
            remedy=f"Run it with `loupe-server run --dir {folder}`, or choose another folder.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ResourceError(f"{folder} cannot be made", found=str(error)) from error
    keys = folder / "pki"
    keys.mkdir(exist_ok=True, mode=0o700)
    conf = prepare_broker(folder / "broker", keys, port=broker_port, reachable=broker_host)
    if not (keys / "server.key").exists():
        pki.issue(keys, "server", pki.Kind.SERVER).save(keys / "server.crt", keys / "server.key")
    trust.create(folder, passphrase=passphrase_in(passphrase_file) if passphrase_file else None)
    Store(folder / "store")
    # Last, because it says that the folder is complete: an init that was stopped can run again.
    (folder / FILE_NAME).write_text(render_config(http_port, broker_port), "utf-8")
    upgrade(Database(read_config(folder).database_url))
    say(
        f"Made {folder}.\n"
        f"  Broker:  mosquitto -c {conf}\n"
        f"  Server:  loupe-server run --dir {folder}\n"
        f"  Keys in {folder / 'offline'} sign releases: move them away from this machine."
        + ("" if passphrase_file else "\n  They are not encrypted: `loupe-server keys passphrase`.")
    )


@device_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Name of the device: letters, digits, - and _.")],
    server: Folder,
    out: Annotated[Path, typer.Option(help="Folder for the device's key and certificates.")],
    line: Annotated[str | None, typer.Option(help="The line that it inspects.")] = None,
    site: Annotated[str, typer.Option(help="Where it stands.")] = "",
) -> None:
    """Make a device's identity and register it."""
    config = read_config(server)
    keys = config.folder / "pki"
    issued = pki.issue(keys, name, pki.Kind.DEVICE)
    database = Database(config.database_url)
    upgrade(database)
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    image_root, director_root = trust.newest_roots(config.folder)
    with database.write() as session:
        now = SystemClock().time()
        certificate = issued.certificate.decode()
        add_device(session, now, "operator", name, certificate, site=site, line=line)
        # Within the transaction: a device is registered only where its files were written.
        issued.save(out / "device.crt", out / "device.key")
        for path, data in (
            ("ca.crt", (keys / "ca.crt").read_bytes()),
            ("image-root.json", image_root),
            ("director-root.json", director_root),
        ):
            pki.write_private(out / path, data, replace=True)
    database.close()
    say(f"Registered {name}; its files are in {out}.")


@app.command()
def run(folder: Folder) -> None:
    """Run the server until Ctrl-C: console, API, ingest and rules."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    serving.serve(folder, lambda address: say(f"Loupe server listens on {address}"))


def main() -> None:
    """Entry point."""
    run_app(app)
