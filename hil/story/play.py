"""The acts in their order. Each acts as people would, then waits for what must be observed."""

from hil.story import acts_line, acts_loop, acts_model, acts_refuse
from hil.story.people import StandIn
from hil.story.world import World


def play(world: World, *, attended: bool) -> None:
    """Plays the whole story. Raises StoryError where something promised is not observed."""
    stand_in = StandIn(world, attended=attended)
    with world.narrator.act(1, "Train the first model"):
        acts_model.train_first(world)
    with world.narrator.act(2, "Sign it with two keys and push it over MQTT"):
        acts_model.sign_and_push(world)
    with world.narrator.act(3, "Inspect, and accept a baseline"):
        acts_line.accept_baselines(world)
    with world.narrator.act(4, "The light of one station ages"):
        acts_line.age_light(world)
    with world.narrator.act(5, "Retrain from the incident"):
        acts_loop.retrain(world, stand_in)
    with world.narrator.act(6, "Roll out: shadow, canary, all"):
        acts_loop.roll_out(world, stand_in)
    with world.narrator.act(7, "Releases that must not get through"):
        acts_refuse.refuse_all(world, stand_in)
    with world.narrator.act(8, "Count the parts"):
        acts_line.count_parts(world)
