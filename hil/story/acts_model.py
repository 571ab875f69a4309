"""From images to the first bundle on every station."""

import json
from pathlib import Path
from typing import Any

from hil.story.api import StoryError
from hil.story.people import TruthLabeller
from hil.story.settings import LINE, STATIONS, Settings
from hil.story.world import World, await_server, start_server, start_stations, start_worker


def training_config(budget_s: int, side: int = 128) -> str:
    """The line's training configuration; everything not said is the trainer's default.

    The network looks at `side` x `side` pixels.
    """
    return f"""\
[line]
name = "{LINE}"

[input]
width = {side}
height = {side}
channels = 3

[train]
threads = 1
epochs = 400
time_budget = "{budget_s}s"

[augment]
gain = [0.85, 1.15]
shift = "4px"
flip = false

[quantize]
calibration_images = 24
"""


def policy(settings: Settings) -> dict[str, object]:
    """What the server may do by itself on this line."""
    return {
        "retrain_on": ["light"],
        "samples": settings.samples,
        "min_labelled": settings.samples,
    }


def train_first(world: World) -> None:
    """Renders a dataset and trains on it; server and stations start meanwhile."""
    images = world.folder / "data" / "first"
    rendering = world.task(
        "images", "loupe-hil", "dataset", str(images), "--parts", str(world.settings.images),
        "--seed", "7",
    )  # fmt: skip
    start_server(world)
    world.finish(rendering, patience_s=60)
    dataset = _import_images(world, images)
    bundle, config = world.store / "first.tar", world.store / "line.toml"
    config.write_text(training_config(world.settings.train_budget_s))
    training = world.task(
        "train", "loupe-trainer", "train", str(config), "--store", str(world.store),
        "--dataset", dataset, "--out", str(bundle), "--json",
    )  # fmt: skip
    await_server(world)
    world.narrator.say(f"console: [bold]{world.api.url}[/bold]")
    _register_line(world)
    start_stations(world)
    loupe(world, "dataset", "push", str(world.store), dataset)
    start_worker(world)
    world.narrator.say("broker, server, three stations and a trainer worker are up")
    done = last_json(world.finish(training, patience_s=180))
    world.digests["champion"] = done["digest"]
    show_bundle(world, done)


def _import_images(world: World, images: Path) -> str:
    imported = world.command(
        "loupe-trainer", "import", str(images), "--line", LINE,
        "--store", str(world.store), "--json",
    )  # fmt: skip
    dataset = str(last_json(imported)["digest"])
    world.narrator.say(f"{world.settings.images} rendered parts are dataset {dataset[:12]}")
    return dataset


def _register_line(world: World) -> None:
    config = world.store / "retrain.toml"
    config.write_text(training_config(world.settings.retrain_budget_s))
    rules = world.store / "policy.json"
    rules.write_text(json.dumps(policy(world.settings)))
    loupe(world, "line", "add", LINE, "--config", str(config), "--policy", str(rules))


def sign_and_push(world: World) -> None:
    """Two signatures, one rollout to every station, and the cameras start."""
    bundle = world.store / "first.tar"
    pipeline = str(world.offline / "pipeline.pem")
    loupe(world, "release", "submit", str(bundle), "--key", pipeline)
    world.narrator.say(
        "the pipeline's key has signed; 1 of 2 signatures: no station may take it yet"
    )
    approve(world, world.digests["champion"])
    world.narrator.say("the approver's key has signed: the image repository lists it")
    rollout = start_rollout(world, world.digests["champion"], first_plan(world.settings))
    world.wait(
        "every station runs the first bundle",
        lambda: all(active(world, name) == world.digests["champion"] for name in STATIONS),
        meanwhile=lambda: guard(world, rollout),
    )
    for station in world.stations.values():
        station.bench.resume()
    world.narrator.say("verified, self-tested and activated on three stations; the lines start")
    world.wait(
        "verdicts arrive from every station",
        lambda: all(row["counted"] for row in parts(world).values()) and len(parts(world)) == 3,
        patience_s=30,
    )
    wait_rollout(world, rollout, "completed")


def guard(world: World, rollout: str) -> None:
    """Raises StoryError as soon as waiting for this rollout is pointless."""
    world.check_alive()
    state = world.api.get(f"/rollouts/{rollout}")
    if state["state"] in ("aborted", "rolled_back"):
        raise StoryError(f"rollout {rollout} ended as {state['state']}", found=last_text(state))


def last_text(rollout: dict[str, Any]) -> str:
    """The text of a rollout's last gate decision."""
    decisions = rollout["decisions"]
    return str(decisions[-1]["text"]) if decisions else "no gate has decided"


def loupe(world: World, *words: str) -> str:
    """The operator's command line, against the story's server."""
    return world.command("loupe", "--server", world.api.url, *words)


def approve(world: World, digest: str) -> None:
    """The second signature, by the key that the server never holds."""
    loupe(world, "release", "approve", digest, "--key", str(world.offline / "approver.pem"))


def start_rollout(world: World, digest: str, plan: dict[str, Any]) -> str:
    """Starts a rollout; returns its id."""
    return str(world.api.post("/rollouts", {"digest": digest, "plan": plan})["id"])


def wait_rollout(
    world: World, rollout: str, outcome: str, labels: TruthLabeller | None = None
) -> dict[str, Any]:
    """The rollout once it has ended. Raises StoryError where it ends otherwise."""

    def ended() -> dict[str, Any] | None:
        state: dict[str, Any] = world.api.get(f"/rollouts/{rollout}")
        over = state["state"] in ("completed", "aborted", "rolled_back")
        return state if over else None

    state = world.wait(
        f"rollout {rollout} ends",
        ended,
        patience_s=labels.patience_s if labels else world.settings.patience_s,
        meanwhile=labels.check if labels else None,
    )
    if state["state"] != outcome:
        raise StoryError(
            f"rollout {rollout} ended otherwise", expected=outcome,
            found=f"{state['state']}: {last_text(state)}",
        )  # fmt: skip
    return state


def stage(
    settings: Settings, name: str, devices: str | list[str], parts: int, count: int
) -> dict[str, Any]:
    """One stage of a plan: `parts` on each of its `count` devices before a promotion."""
    return {
        "name": name,
        "devices": devices,
        "min_parts": parts * count,
        "min_parts_each": parts,
        "horizon_s": settings.horizon_s,
        "update_timeout_s": settings.horizon_s,
        "silent_timeout_s": settings.horizon_s,
        "look_every_s": 1.0,
    }


def first_plan(settings: Settings) -> dict[str, Any]:
    """A line's first bundle goes to all at once: there is nothing to compare it with."""
    return {"stages": [stage(settings, "all", "all", settings.wave_parts, len(STATIONS))]}


def active(world: World, device: str) -> str | None:
    """Digest of the bundle that the device reports as active."""
    state = world.api.get(f"/devices/{device}")["state"] or {}
    slot = state.get("lines", {}).get(LINE, {}).get("active")
    return str(slot["digest"]) if slot else None


def parts(world: World) -> dict[str, dict[str, Any]]:
    """Counts of the verdicts that the server has stored, by device."""
    return {row["device"]: row for row in world.api.get("/parts/summary")}


def last_json(output: str) -> dict[str, Any]:
    """The JSON object on the last line of a command's output."""
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


def show_bundle(world: World, done: dict[str, Any]) -> None:
    """What the trainer says of a bundle."""
    world.narrator.say(f"bundle {done['digest'][:12]}, {done['size_bytes'] / 1e6:.1f} MB")
    world.narrator.table(
        [
            {"runtime/precision": key, "image AUROC": f"{row['image_auroc']:.4f}",
             "flips": row.get("flips", ""), "p50 ms": f"{row['latency_ms']['p50']:.1f}"}
            for key, row in done["evaluation"]["models"].items()
        ]
    )  # fmt: skip
