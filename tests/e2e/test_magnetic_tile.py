"""The loop on real photographs: trained under bright exposures, replayed under bright, then dark ones.

Magnetic tiles (Huang, Qiu, Yuan: Saliency of magnetic tile surface defects, 2020), split by tile: the
replayed tiles were never trained on.
"""

import csv
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fleet_contract.dataset import parse_version
from hil.story.acts_line import proposed
from hil.story.acts_model import approve, last_json, loupe, start_rollout, wait_rollout
from hil.story.api import StoryError
from hil.story.narrate import Narrator
from hil.story.settings import SHORT
from hil.story.world import World, add_device, await_server, open_world, start_agent, start_server
from tests.support.data import magnetic_tile

pytestmark = pytest.mark.timeout(600)

LINE, DEVICE = "magnetic-tile", "tile-1"
BRIGHT, DARK = ("4", "5", "6"), ("3", "2", "1")
RATE_HZ = 12
WINDOWS = 12


@pytest.fixture(scope="module")
def data() -> Path:
    """The folder of the tiles; without it the test says so by name, and CI fails."""
    return magnetic_tile()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("tiles")
    (folder / "logs").mkdir()
    settings = replace(SHORT, baseline_windows=WINDOWS, window_s=1.0)
    world = open_world(folder, settings, 0, Narrator(Console(quiet=True)))
    try:
        start_server(world)
        await_server(world)
        yield world
    finally:
        world.close()


def _train(world: World, data: Path) -> tuple[str, dict[str, Any]]:
    """Trains on exposures 4 to 6; returns the dataset's digest and the trainer's report."""
    imported = world.command(
        "loupe-trainer", "import", str(data / "tiles.csv"), "--line", LINE, "--store",
        str(world.store), "--group", "tile", "--holdout", "0.5",
        "--where", f"exposure={','.join(BRIGHT)}", "--json",
    )  # fmt: skip
    dataset = str(last_json(imported)["digest"])
    config = world.store / "line.toml"
    config.write_text(
        f'[line]\nname = "{LINE}"\n[input]\nwidth = 128\nheight = 128\nchannels = 1\n'
        '[train]\ntime_budget = "50s"\n[gates]\nmax_flips = 0.2\n'
    )
    done = world.command(
        "loupe-trainer", "train", str(config), "--store", str(world.store),
        "--dataset", dataset, "--out", str(world.store / "tile.tar"), "--json",
    )  # fmt: skip
    loupe(world, "line", "add", LINE, "--config", str(config))
    return dataset, last_json(done)


def _holdout(world: World, dataset: str, data: Path) -> list[dict[str, str]]:
    """Rows of the tiles that were held out, at all exposures; no trained tile is among them."""
    version = parse_version((world.store / "versions" / f"{dataset}.json").read_bytes())
    held = {item.group for item in version.side("holdout")}
    trained = {item.group for item in version.side("train")}
    assert held
    assert not held & trained
    with (data / "tiles.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["tile"] in held]


def _replay(folder: Path, data: Path, rows: list[dict[str, str]]) -> None:
    folder.mkdir()
    for number, row in enumerate(rows):
        shutil.copy(data / row["image"], folder / f"{number:04d}.jpg")


def _station(world: World, folder: Path, images: Path) -> None:
    (folder / "station.toml").write_text(
        f"""\
device = "{DEVICE}"
heartbeat = "5s"
[link]
host = "127.0.0.1"
port = {world.broker_port}
[line]
name = "{LINE}"
deadline = "2s"
[source]
kind = "folder"
path = "{images}"
rate = "{RATE_HZ}Hz"
pattern = "*.jpg"
channels = 1
repeat = true
[[outputs]]
kind = "jsonl"
file = "verdicts.jsonl"
[windows]
length = "1s"
sample_rate = "{RATE_HZ}Hz"
[probation]
parts = 12
"""
    )


def test_dark_exposures_raise_a_light_alarm_and_bright_ones_do_not(
    data: Path, world: World
) -> None:
    dataset, trained = _train(world, data)
    assert trained["evaluation"]["models"]["onnx/int8"]["image_auroc"] > 0.6
    rows = _holdout(world, dataset, data)
    shuffled = random.Random(1)
    bright = [row for row in rows if row["exposure"] in BRIGHT]
    shuffled.shuffle(bright)
    dark = [row for exposure in DARK for row in rows if row["exposure"] == exposure]
    _replay(world.folder / "bright", data, bright)
    _replay(world.folder / "dark", data, dark)

    folder = add_device(world, DEVICE, LINE, "x86-64-box")
    _station(world, folder, world.folder / "bright")
    agent = start_agent(world, DEVICE, folder)
    _push(world, trained["digest"])
    _accept_baseline(world)
    _quiet_windows(world, 2 * WINDOWS)
    assert world.api.get("/incidents") == []
    _same_verdicts(folder, trained, bright)

    world.supervisor.stop(agent)
    _station(world, folder, world.folder / "dark")
    start_agent(world, f"{DEVICE}-dark", folder)
    incidents = world.wait("an incident", lambda: world.api.get("/incidents"))
    assert [(row["device"], row["cause"]) for row in incidents] == [(DEVICE, "light")]


def _push(world: World, digest: str) -> None:
    pipeline = str(world.offline / "pipeline.pem")
    loupe(world, "release", "submit", str(world.store / "tile.tar"), "--key", pipeline)
    with pytest.raises(StoryError, match="approved"):
        start_rollout(world, digest, {"stages": [{"name": "all", "devices": "all"}]})
    approve(world, digest)
    plan = {"stages": [{"name": "all", "devices": "all", "min_parts": 12, "horizon_s": 60}]}
    wait_rollout(world, start_rollout(world, digest, plan), "completed")


def _same_verdicts(folder: Path, trained: dict[str, Any], bright: list[dict[str, str]]) -> None:
    """What the agent said of every held-out part is what the bundle's evaluation says of it."""
    reported = {one["source"]: one["verdict"] for one in trained["evaluation"]["decisions"]}
    told = [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]
    seen = {
        bright[(verdict["number"] - 1) % len(bright)]["image"]: verdict["verdict"]
        for verdict in told
        if verdict["digest"] == trained["digest"] and verdict["verdict"] != "no_decision"
    }
    assert len(seen) > len(bright) // 2
    assert seen == {image: reported[image] for image in seen}


def _accept_baseline(world: World) -> None:
    baseline = world.wait("a baseline is proposed", lambda: proposed(world, DEVICE))
    world.api.post(f"/baselines/{baseline['id']}/accept", {"by": "operator"})


def _quiet_windows(world: World, count: int) -> None:
    def windows() -> int:
        return len(world.api.get("/windows", device=DEVICE, limit=500))

    before = windows()
    world.wait(f"{count} more windows", lambda: windows() >= before + count)
