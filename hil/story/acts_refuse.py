"""Releases that must not get through, each stopped where it must be."""

from collections.abc import Callable
from typing import Any

from hil.story.acts_loop import full_plan, show_decisions
from hil.story.acts_model import active, approve, last_text, loupe, start_rollout, wait_rollout
from hil.story.api import StoryError
from hil.story.attack import flip_byte, publish_with_one_signature, recover
from hil.story.bad_releases import retuned, swapped_channels, with_models
from hil.story.crash import crashing_models
from hil.story.people import TruthLabeller
from hil.story.settings import STATIONS
from hil.story.world import World


def refuse_all(world: World) -> None:
    """Five bad releases; after each, the stations run what they ran before."""
    good = world.api.bytes(f"/bundles/{world.digests['challenger']}")
    cases: list[tuple[str, Callable[[World, bytes], None]]] = [
        ("channel order swapped, golden samples as they were", _old_golden),
        ("channel order swapped, golden samples made anew", _new_golden),
        ("signed by one key instead of two", _one_signature),
        ("a model that crashes its runtime", _crash),
        ("one byte flipped in the store", _flipped_byte),
    ]
    for title, case in cases:
        world.narrator.say(f"[bold]{title}[/bold]")
        case(world, good)
        world.wait(
            "every station runs the good bundle",
            lambda: all(active(world, n) == world.digests["challenger"] for n in STATIONS),
        )


def _release(world: World, name: str, archive: bytes) -> str:
    path = world.folder / "trainer" / f"{name}.tar"
    path.write_bytes(archive)
    loupe(world, "release", "submit", str(path), "--key", str(world.offline / "pipeline.pem"))
    digest = next(
        row["digest"] for row in world.api.get("/releases")
        if row["digest"] not in world.digests.values()
    )  # fmt: skip
    world.digests[name] = str(digest)
    approve(world, str(digest))
    return str(digest)


def _refused_by_devices(world: World, name: str, failure: str) -> dict[str, Any]:
    rollout = start_rollout(world, world.digests[name], full_plan(world.settings))
    state = wait_rollout(world, rollout, "rolled_back")
    steps = [
        event for event in world.api.get("/events", kind="update", limit=500)
        if event["digest"] == world.digests[name] and event["data"].get("failure") == failure
    ]  # fmt: skip
    if not steps:
        raise StoryError(
            f"no station stopped {name} by itself", expected=f"a failure of class {failure}",
            found=last_text(state),
        )  # fmt: skip
    world.narrator.say(f"{steps[0]['device']}: {steps[0]['text']}")
    return state


def _old_golden(world: World, good: bytes) -> None:
    _release(world, "swapped-old-golden", swapped_channels(good, golden_anew=False))
    _refused_by_devices(world, "swapped-old-golden", "self_test")


def _new_golden(world: World, good: bytes) -> None:
    digest = _release(world, "swapped-new-golden", swapped_channels(good, golden_anew=True))
    rollout = start_rollout(world, digest, full_plan(world.settings))
    labeller = TruthLabeller(world)
    try:
        state = wait_rollout(world, rollout, "rolled_back")
    finally:
        labeller.close()
    show_decisions(world, state)


def _one_signature(world: World, good: bytes) -> None:
    """Whoever owns the server and the pipeline's key publishes past the approver."""
    before = [row["id"] for row in _refusals(world)]
    list_before = publish_with_one_signature(world.server, world.offline, retuned(good, 0.02))
    refused = world.wait(
        "the stations refuse the metadata",
        lambda: [row for row in _refusals(world) if row["id"] not in before],
    )
    world.narrator.say(f"{refused[0]['device']}: {refused[0]['text']}")
    recover(world.server, world.offline, list_before)
    world.narrator.say("the holders of both keys sign the good list again")


def _refusals(world: World) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = world.api.get("/events", kind="refused", limit=500)
    return rows


def _crash(world: World, good: bytes) -> None:
    _release(world, "crashing", with_models(good, crashing_models()))
    _refused_by_devices(world, "crashing", "crash")


def _flipped_byte(world: World, good: bytes) -> None:
    """A good release whose encoding rots in the server's store."""
    digest = _release(world, "flipped", retuned(good, 0.01))
    release = world.api.get(f"/releases/{digest}")
    stored = release["encodings"][0]["digest"]
    flip_byte(next((world.server / "store").rglob(stored)))
    _refused_by_devices(world, "flipped", "bundle")
