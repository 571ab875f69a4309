"""A real fleet to measure: broker, server, three cameras and three agents, as the story starts them."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console

from fleet_contract.archive import digest
from hil.story.acts_model import active, approve, first_plan, loupe, start_rollout, training_config
from hil.story.api import StoryError
from hil.story.narrate import Narrator
from hil.story.settings import LINE, SHORT, STATIONS
from hil.story.world import World, await_server, open_world, start_server, start_stations


@contextmanager
def fleet() -> Iterator[World]:
    """Everything runs and the line is known; no bundle yet, and the cameras stand still."""
    with tempfile.TemporaryDirectory(prefix="loupe-bench-") as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        world = open_world(folder, SHORT, 0, Narrator(Console(stderr=True, quiet=True)))
        try:
            start_server(world)
            await_server(world)
            config = folder / "line.toml"
            config.write_text(training_config(world.settings.train_budget_s))
            loupe(world, "line", "add", LINE, "--config", str(config))
            start_stations(world)
            world.wait("every station is online", lambda: all(map(_online(world), STATIONS)))
            yield world
        finally:
            world.close()


def _online(world: World) -> Callable[[str], bool]:
    return lambda name: bool(world.api.get(f"/devices/{name}")["online"])


def release(world: World, archive: bytes) -> str:
    """Submits a bundle, signs it with both keys; its digest."""
    path = world.folder / "bundle.tar"
    path.write_bytes(archive)
    key = str(world.offline / "pipeline.pem")
    loupe(world, "release", "submit", str(path), "--key", key)
    approve(world, digest(archive))
    return digest(archive)


def roll_out(world: World, bundle: str) -> None:
    """Sends the line's first bundle to every station; returns when all run it."""
    start_rollout(world, bundle, first_plan(world.settings))
    world.wait(
        "every station runs the bundle",
        lambda: all(active(world, name) == bundle for name in STATIONS),
    )


def server_process(world: World) -> psutil.Process:
    """The server's process, known by its command line. Raises StoryError where there is none."""
    for process in psutil.Process().children():
        words = process.cmdline()
        if "run" in words and str(world.server) in words:
            return process
    raise StoryError("the server's process is not there")
