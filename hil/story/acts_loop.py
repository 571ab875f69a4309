"""From the incident to the challenger, and from the challenger to every station."""

from typing import Any

from hil.story.acts_model import active, approve, stage, start_rollout, wait_rollout
from hil.story.api import StoryError
from hil.story.people import StandIn
from hil.story.settings import AGEING, CANARY, LINE, STATIONS, Settings
from hil.story.world import World


def retrain(world: World, stand_in: StandIn) -> None:
    """The server asks the dim station for images; labelled, they make the challenger."""
    with stand_in.label("requested") as labels:
        run = world.wait(
            "a training run is queued by the incident",
            lambda: _run_of_incident(world),
            patience_s=stand_in.patience_s,
            meanwhile=labels.check,
        )
    world.narrator.say(
        f"run {run['id']} on dataset {run['dataset'][:12]}, because of incident {run['incident']}"
    )
    done = world.wait(
        "the training run ends",
        lambda: _ended(world, run["id"]),
        patience_s=world.settings.retrain_budget_s * 4 + world.settings.patience_s,
    )
    if done["state"] != "succeeded":
        raise StoryError(f"training run {done['id']} {done['state']}", found=done["error"])
    world.digests["challenger"] = done["bundle"]
    comparison = done["comparison"]
    world.narrator.say(
        f"challenger {done['bundle'][:12]} against the champion on the same holdout: "
        f"{comparison['outcome']}: {comparison['why']}"
    )


def _run_of_incident(world: World) -> dict[str, Any] | None:
    rows = world.api.get("/runs")
    return next((row for row in rows if row["incident"] is not None), None)


def _ended(world: World, run: str) -> dict[str, Any] | None:
    state: dict[str, Any] = world.api.get(f"/runs/{run}")
    return state if state["state"] in ("succeeded", "failed", "cancelled") else None


def full_plan(settings: Settings, stand_in: StandIn) -> dict[str, Any]:
    """Shadow on all, canary on one, then all; shadow waits for as long as labels may take."""
    shadow = stage(settings, "shadow", "all", settings.shadow_parts, len(STATIONS))
    return {
        "stages": [
            {**shadow, "horizon_s": stand_in.patience_s},
            stage(settings, "canary", [CANARY], settings.canary_parts, 1),
            stage(settings, "all", "all", settings.wave_parts, len(STATIONS)),
        ]
    }


def roll_out(world: World, stand_in: StandIn) -> None:
    """The challenger goes through every gate; then the dim station's light is accepted as it is."""
    challenger = world.digests["challenger"]
    approve(world, challenger)
    rollout = start_rollout(world, challenger, full_plan(world.settings, stand_in))
    with stand_in.label("disagreement") as labels:
        state = wait_rollout(world, rollout, "completed", labels)
    show_decisions(world, state)
    for name in STATIONS:
        if active(world, name) != challenger:
            raise StoryError(f"{name} does not run the challenger", found=str(active(world, name)))
    _accept_new_light(world)
    world.narrator.say(f"all stations run {challenger[:12]}; the dim light of {AGEING} is accepted")


def _accept_new_light(world: World) -> None:
    incident = next(
        row for row in world.api.get("/incidents")
        if (row["device"], row["line"], row["cause"]) == (AGEING, LINE, "light")
    )  # fmt: skip
    world.api.post(f"/incidents/{incident['id']}/close", {"by": "operator", "rebaseline": True})


def show_decisions(world: World, rollout: dict[str, Any]) -> None:
    """The gates' last word in each stage, with its numbers in words."""
    last = {decision["stage_name"]: decision for decision in rollout["decisions"]}
    for name, decision in last.items():
        world.narrator.say(f"{name}: [bold]{decision['decision']}[/bold]. {decision['text']}")
