"""The person at the review queue, or who stands in.

Unattended, the renderer's truth labels. Attended, the queue in the console waits for a person, until
somebody presses Enter and lets the truth do it from then on.
"""

import sys
import threading

from hil.story.api import Api, StoryError
from hil.story.world import World

_LOOK_S = 0.3
TRUTH = "renderer"
"""Who labelled, in the server's records, where the truth stood in."""


class StandIn:
    """Whether the truth may label: at once when unattended, else once Enter was pressed."""

    def __init__(self, world: World, *, attended: bool) -> None:
        self._world, self._attended = world, attended
        self._allowed = threading.Event()
        if attended:
            # One reader for the whole story: two would fight for the terminal's lines.
            threading.Thread(target=self._wait_for_enter, name="enter", daemon=True).start()
        else:
            self._allowed.set()

    @property
    def patience_s(self) -> float:
        """How long labels may take: people have their time."""
        return 3600.0 if self._attended else self._world.settings.patience_s

    def label(self, why: str) -> "TruthLabeller":
        """Asks for labels of the samples that were taken because of `why`; a context manager."""
        if self._allowed.is_set():
            self._world.narrator.say("the renderer's truth stands in for the person who labels")
        else:
            self._world.narrator.say(
                f"[bold]Label the images at {self._world.api.url}/review?why={why}[/bold], or press "
                "Enter here to let the renderer's truth stand in for you from now on"
            )
        return TruthLabeller(self._world, why, self._allowed, 2 * self.patience_s)

    def _wait_for_enter(self) -> None:
        # An end of the input is no word of a person.
        if sys.stdin.readline():
            self._allowed.set()


class TruthLabeller:
    """Labels samples from the cameras' truth, in a thread of its own, while the block lasts.

    Only those that were taken because of `why` (`requested`, `disagreement`): what the story waits for.
    """

    def __init__(self, world: World, why: str, allowed: threading.Event, patience_s: float) -> None:
        self._world, self._why, self._allowed = world, why, allowed
        self.patience_s = patience_s
        """How long what needs the labels may take."""
        self._api = Api(world.api.url)
        self._stop = threading.Event()
        self._error: StoryError | None = None
        self._thread = threading.Thread(target=self._run, name="labeller", daemon=True)

    def __enter__(self) -> "TruthLabeller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._api.close()

    def check(self) -> None:
        """Raises what makes waiting pointless: the labeller's own error, or a process that ended."""
        self._world.check_alive()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            if self._allowed.is_set():
                try:
                    self._label_all()
                except StoryError as error:
                    self._error = error
                    return

    def _label_all(self) -> None:
        for sample in self._api.get("/samples", state="unlabelled", why=self._why, limit=50):
            if self._stop.is_set():
                return
            bench = self._world.stations[sample["device"]].bench
            truths = bench.truth(sample["part"], sample["part"])
            if truths:
                label = truths[0].defects[0].kind if truths[0].defects else "good"
                body = {"label": label, "by": TRUTH}
                self._api.post(f"/samples/{sample['sample_id']}/label", body)
