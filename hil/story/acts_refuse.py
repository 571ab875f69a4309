"""Releases that must not get through, each stopped where it must be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleet_contract.archive import digest as digest_of
from hil.story.acts_loop import full_plan, show_decisions
from hil.story.acts_model import active, approve, last_text, loupe, start_rollout, wait_rollout
from hil.story.api import StoryError
from hil.story.attack import flip_byte, publish_with_one_signature, recover
from hil.story.bad_bundle import Kind
from hil.story.people import StandIn
from hil.story.settings import STATIONS
from hil.story.world import World


def refuse_all(world: World, stand_in: StandIn) -> None:
    """Five bad releases; after each, the stations run what they ran before."""
    good = world.store / "good.tar"
    good.write_bytes(world.api.bytes(f"/bundles/{world.digests['challenger']}"))
    cases: list[tuple[str, Callable[[World, StandIn, Path], None]]] = [
        ("channel order swapped, golden samples as they were", _old_golden),
        ("channel order swapped, golden samples made anew", _new_golden),
        ("signed by one key instead of two", _one_signature),
        ("a model that crashes its runtime", _crash),
        ("one byte flipped in the store", _flipped_byte),
    ]
    for title, case in cases:
        world.narrator.say(f"[bold]{title}[/bold]")
        case(world, stand_in, good)
        world.wait(
            "every station runs the good bundle",
            lambda: all(active(world, n) == world.digests["challenger"] for n in STATIONS),
        )


def _release(world: World, kind: Kind, good: Path) -> str:
    """Makes the bad bundle and has it signed by both keys, as if nobody had noticed."""
    bad = world.store / f"{kind}.tar"
    world.command("loupe-hil", "bad-bundle", kind, str(good), str(bad))
    digest = digest_of(bad.read_bytes())
    loupe(world, "release", "submit", str(bad), "--key", str(world.offline / "pipeline.pem"))
    approve(world, digest)
    return digest


def _refused_by_devices(world: World, stand_in: StandIn, digest: str, failure: str) -> None:
    rollout = start_rollout(world, digest, full_plan(world.settings, stand_in))
    state = wait_rollout(world, rollout, "rolled_back")
    steps = [
        event for event in world.api.get("/events", kind="update", limit=500)
        if event["digest"] == digest and event["data"].get("failure") == failure
    ]  # fmt: skip
    if not steps:
        raise StoryError(
            f"no station stopped {digest[:12]} by itself", expected=f"a failure of class {failure}",
            found=last_text(state),
        )  # fmt: skip
    world.narrator.say(f"{steps[0]['device']}: {steps[0]['text']}")


def _old_golden(world: World, stand_in: StandIn, good: Path) -> None:
    _refused_by_devices(world, stand_in, _release(world, Kind.SWAPPED, good), "self_test")


def _new_golden(world: World, stand_in: StandIn, good: Path) -> None:
    digest = _release(world, Kind.SWAPPED_GOLDEN_ANEW, good)
    rollout = start_rollout(world, digest, full_plan(world.settings, stand_in))
    with stand_in.label("disagreement") as labels:
        state = wait_rollout(world, rollout, "rolled_back", labels)
    show_decisions(world, state)


def _one_signature(world: World, _stand_in: StandIn, _good: Path) -> None:
    """Whoever owns the server and the pipeline's key publishes past the approver."""
    before = [row["id"] for row in _refusals(world)]
    list_before = publish_with_one_signature(world.server, world.offline)
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


def _crash(world: World, stand_in: StandIn, good: Path) -> None:
    _refused_by_devices(world, stand_in, _release(world, Kind.CRASHING, good), "crash")


def _flipped_byte(world: World, stand_in: StandIn, good: Path) -> None:
    """A good release whose encoding rots in the server's store."""
    digest = _release(world, Kind.RETUNED, good)
    release = world.api.get(f"/releases/{digest}")
    stored = release["encodings"][0]["digest"]
    flip_byte(next((world.server / "store").rglob(stored)))
    _refused_by_devices(world, stand_in, digest, "bundle")
