"""The thread that reads one connection to a camera, until it fails, is closed or is given up."""

import logging
import threading
from typing import Protocol

from edge_agent.source.base import CameraLost
from edge_agent.source.camera import Camera, Grab, Settable
from fleet_contract.clock import Clock
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import Frame

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where frames go. Called from the reader's thread."""

    def to_set(self, reader: "Reader") -> str | None:
        """The recipe by which the camera is to be set before the next frame; None: no other."""

    def was_set(self, reader: "Reader", recipe: str, *, taken: bool) -> None:
        """What became of it."""

    def wants(self, reader: "Reader", grab: Grab) -> bool:
        """Whether to decode it; False for a reader that was given up."""

    def deliver(self, reader: "Reader", grab: Grab, frame: Frame | None) -> None:
        """A frame that was wanted."""

    def ended(self, reader: "Reader") -> None:
        """The thread is through; `reader.error` says why."""


class Reader:
    """A connection and its thread. `turned_s` and `error` may be read from any other."""

    def __init__(self, camera: Camera, sink: Sink, clock: Clock, *, idle_is_life: bool) -> None:
        """`idle_is_life`: frames come only when the line sends parts, waiting is no fault."""
        self._camera, self._sink, self._clock = camera, sink, clock
        self._idle_is_life = idle_is_life
        self._closing = threading.Event()
        self.opened = self.lives = False
        """Whether it is connected; whether it has given a sign of life since."""
        self.turned_s = clock.monotonic()
        """Monotonic seconds of the last sign of life."""
        self.error = ""
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the thread is there: one that hangs in its library is, for good."""
        return self._thread.is_alive()

    def close(self, timeout_s: float) -> None:
        """Ends it after the frame that it waits for, or leaves it to end by itself."""
        self._closing.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._camera.open()
            log.info("the camera is connected")
            self._live(opening=True)
            while not self._closing.is_set():
                self._turn()
        except CameraLost as error:
            self.error = str(error)
        finally:
            self.error = self.error or "its reader ended"
            self._camera.close()
            self._sink.ended(self)

    def _live(self, *, opening: bool = False) -> None:
        self.turned_s = self._clock.monotonic()
        self.opened = True
        self.lives = self.lives or not opening or self._idle_is_life

    def _turn(self) -> None:
        recipe = self._sink.to_set(self)
        if recipe is not None:
            assert isinstance(self._camera, Settable)
            self._sink.was_set(self, recipe, taken=self._camera.use(recipe))
        grab = self._camera.grab()
        if grab is not None or self._idle_is_life:
            self._live()
        if grab is None or not self._sink.wants(self, grab):
            return
        frame: Frame | None = None
        if grab.whole:
            try:
                frame = self._camera.retrieve()
            except DataError as error:
                log.warning("a frame cannot be decoded: %s", error)
        self._sink.deliver(self, grab, frame)
