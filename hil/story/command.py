"""`loupe-hil demo`."""

import json
import os
import time
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console

from hil.story import interrupt
from hil.story.api import StoryError
from hil.story.facts import check_facts
from hil.story.narrate import Narrator
from hil.story.play import play
from hil.story.report import read_report
from hil.story.settings import preset
from hil.story.world import World, lock_folder, open_world

REPORT, TIMES = "report.json", "times.json"
_LOOK_S = 0.25


def demo(
    folder: Annotated[Path, typer.Option("--dir", help="Made anew by each run.")] = Path(
        "build/demo"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the console; 0: any.")] = 8420,
    headless: Annotated[
        bool, typer.Option(envvar="HEADLESS", help="Unattended: play, report, end.")
    ] = False,
    story: Annotated[str, typer.Option(help="demo, or short as the tests play it.")] = "demo",
) -> None:
    """Play the whole story on this machine: train, sign, push, inspect, drift, retrain, roll back."""
    settings = preset(story)
    console = Console()
    interrupt.listen()
    descriptor = lock_folder(folder.absolute())
    try:
        narrator = Narrator(console)
        world = open_world(folder.absolute(), settings, port, narrator)
        try:
            play(world, attended=not headless and console.is_terminal)
            write_times(world)
            report(world)
            if not headless:
                _stay(console, world)
        finally:
            with narrator.waiting("every process has ended"):
                world.close()
    except KeyboardInterrupt:
        console.print("\nended: every process is gone; `make demo` starts anew")
        raise typer.Exit(130) from None
    finally:
        os.close(descriptor)


def write_times(world: World) -> None:
    """When this command started (UTC epoch) and the seconds that each act took, for the benchmarks."""
    times = {"started": psutil.Process().create_time(), "acts": world.narrator.spans}
    (world.folder / TIMES).write_text(json.dumps(times, indent=1) + "\n")


def report(world: World) -> None:
    """Writes the report, read back from what was stored, and checks the story's promises on it.

    Raises StoryError that lists what was not observed.
    """
    content = read_report(world)
    path = world.folder / REPORT
    path.write_text(json.dumps(content, indent=1) + "\n")
    facts = check_facts(content)
    for fact in facts:
        world.narrator.say(
            f"{'[green]yes[/green]' if fact.observed else '[red]NO[/red] '} {fact.text}"
        )
    world.narrator.say(f"report: {path}")
    missing = [fact.text for fact in facts if not fact.observed]
    if missing:
        raise StoryError("the stored data do not show everything", found="; ".join(missing))


def _stay(console: Console, world: World) -> None:
    for station in world.stations.values():
        station.bench.resume()
    console.print(f"\nThe lines go on. Look around at {world.api.url}; Ctrl-C ends everything.")
    while True:
        world.check_alive()
        interrupt.check()
        time.sleep(_LOOK_S)
