"""The people of the story: who labels, who accepts, who approves.

Unattended, the renderer's truth stands in for the person at the review queue. Attended, the queue in
the console waits for a person, until somebody presses Enter and lets the truth do it.
"""

import sys
import threading
from collections.abc import Callable

from hil.story.api import Api, StoryError
from hil.story.world import World

_LOOK_S = 0.5
TRUTH = "renderer"
"""Who labelled, in the server's records, where the truth stood in."""


class TruthLabeller:
    """Labels what lies in the review queue from the cameras' truth, in a thread of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._api = Api(world.api.url)
        self._stop = threading.Event()
        self.error: StoryError | None = None
        self._thread = threading.Thread(target=self._run, name="labeller", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops labelling."""
        self._stop.set()
        self._thread.join()
        self._api.close()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            try:
                self.label_all()
            except StoryError as error:
                self.error = error
                return

    def label_all(self) -> None:
        """Labels every sample of the queue whose part the camera remembers."""
        for sample in self._api.get("/samples", state="unlabelled", limit=50):
            if self._stop.is_set():
                return
            station = self._world.stations[sample["device"]]
            truths = station.bench.truth(sample["part"], sample["part"])
            if truths:
                label = _label(truths[0].defects and truths[0].defects[0].kind)
                self._api.post(
                    f"/samples/{sample['sample_id']}/label", {"label": label, "by": TRUTH}
                )


def _label(kind: object) -> str:
    return str(kind) if kind else "good"


def wait_for_enter(then: Callable[[], None]) -> None:
    """Calls `then` once somebody presses Enter; returns at once."""

    def read() -> None:
        sys.stdin.readline()
        then()

    threading.Thread(target=read, name="enter", daemon=True).start()
