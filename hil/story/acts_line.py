"""The lines: inspecting, their baselines, ageing light, and the count of parts at the end."""

from functools import partial
from typing import Any

from hil.story.acts_model import parts
from hil.story.api import StoryError
from hil.story.settings import AGEING, STATIONS
from hil.story.world import World


def accept_baselines(world: World) -> None:
    """Waits for the proposed period of each station, and accepts it as an operator would."""

    settings = world.settings
    span = settings.baseline_windows * settings.window_s
    world.narrator.say(
        f"waiting for {settings.baseline_windows} windows of {settings.window_s:g} s"
    )
    for name in STATIONS:
        baseline = world.wait(
            f"{name} proposes a baseline",
            partial(proposed, world, name),
            patience_s=span + settings.patience_s,
        )
        world.api.post(f"/baselines/{baseline['id']}/accept", {"by": "operator"})
    for row in parts(world).values():
        world.narrator.say(f"{row['device']}: {row['accept']} accepted, {row['reject']} rejected")
    world.narrator.say("the three baselines are accepted and frozen")


def proposed(world: World, device: str) -> dict[str, Any] | None:
    """The baseline that waits for a person's word, if one does."""
    rows = world.api.get("/baselines", device=device)
    return next((row for row in rows if row["state"] == "proposed"), None)


def age_light(world: World) -> None:
    """Ramps the lamp of one station down, and waits for the incident that names it."""
    settings = world.settings
    bench = world.stations[AGEING].bench
    world.marks["ageing"] = bench.ramp("light_level", settings.dim_light, settings.ageing_s)
    world.narrator.say(
        f"the lamp of {AGEING} goes from 1.0 to {settings.dim_light} in {settings.ageing_s:.0f} s"
    )
    incidents = world.wait(
        "an incident",
        lambda: world.api.get("/incidents"),
    )
    found = [(row["device"], row["cause"]) for row in incidents]
    if found != [(AGEING, "light")]:
        raise StoryError(
            "the incident is another one", expected=f"{AGEING}, light", found=str(found)
        )
    world.narrator.say(
        f"incident {incidents[0]['id']}: {AGEING}, cause light; the others stay quiet"
    )


def count_parts(world: World) -> None:
    """Stops the lines, lets everything arrive, and compares triggers with stored verdicts."""
    for station in world.stations.values():
        station.bench.pause()
    triggers = {name: s.bench.counters()["triggers"] for name, s in world.stations.items()}
    world.wait(
        f"a verdict for every trigger ({triggers})",
        lambda: {name: row["counted"] for name, row in parts(world).items()} == triggers,
        patience_s=60,
    )
    world.marks.update({f"triggers {name}": count for name, count in triggers.items()})
    world.narrator.table(
        [
            {"station": name, "triggers": triggers[name], "verdicts": row["counted"],
             "accept": row["accept"], "reject": row["reject"], "no decision": row["no_decision"],
             "lost": triggers[name] - row["counted"]}
            for name, row in sorted(parts(world).items())
        ]
    )  # fmt: skip
