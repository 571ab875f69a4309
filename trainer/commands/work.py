"""The command that works for a server."""

import logging
import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from fleet_contract.clock import SystemClock
from trainer.commands.model import read_file, stopping
from trainer.data.store import Store


def worker(
    server: Annotated[str, typer.Option(help="Address of the server, http://HOST:PORT.")],
    pipeline_key: Annotated[Path, typer.Option(help="The pipeline's signing key, PEM.")],
    work: Annotated[Path, typer.Option(help="Folder for downloaded images.")],
    once: Annotated[bool, typer.Option("--once", help="End after one run.")] = False,
    name: Annotated[
        str, typer.Option(help="This worker's name; host and process by default.")
    ] = "",
    poll: Annotated[float, typer.Option(help="Seconds between questions for work.")] = 1.0,
) -> None:
    """Lease training runs from a server, do them, submit and sign the bundles."""
    from trainer.api import Api  # torch takes seconds to load
    from trainer.worker import Worker

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    api = Api(server)
    chosen = name or f"{socket.gethostname()}-{os.getpid()}"
    key = read_file(pipeline_key)
    with stopping() as stop:
        hand = Worker(api, Store(work), key, chosen, SystemClock(), stop, poll_s=poll)
        hand.run(once=once)
    api.close()
    typer.echo(f"{hand.done} runs done, {hand.failed} failed, {hand.given_back} given back")
