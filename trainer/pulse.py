"""What keeps a run a worker's own while it is worked on: heartbeats, and checkpoints."""

import logging
import threading
from pathlib import Path

from fleet_contract.errors import LoupeError, TransferError
from trainer import parcel
from trainer.api import Api, AwayError, LeaseLostError
from trainer.job import Job

log = logging.getLogger(__name__)

CHECKPOINT_S = 30.0
"""Least time between two checkpoints that are sent, in seconds."""
_BEATS_A_LEASE = 4
_SLOWEST_BEAT_S = 2.0
"""People watch the progress."""
_STEPS = 10
"""Lines of the log that a long step writes at most."""


class Pulse:
    """Heartbeats of one run, from a thread of its own; says whether to stop."""

    def __init__(self, api: Api, run: str, worker: str, lease_s: float) -> None:
        self._api, self._run, self._worker = api, run, worker
        self._every_s = min(lease_s / _BEATS_A_LEASE, _SLOWEST_BEAT_S)
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._progress, self._message, self._log = 0.0, "", list[str]()
        self._logged = ("", -1)
        self.stop, self.lost = threading.Event(), False
        self._thread = threading.Thread(target=self._beat, name=f"pulse-{run}", daemon=True)

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def watch(self, share: float, message: str) -> bool:
        """Takes the state of the work; True where it is to stop.

        Each new step becomes a line of the log, and each tenth of the whole.
        """
        here = (message.split(":")[0], int(share * _STEPS))
        with self._lock:
            if here != self._logged:
                self._log.append(message)
                self._logged = here
            self._progress, self._message = share, message
        return self.stop.is_set()

    def say(self, text: str) -> None:
        """A line for the run's log."""
        log.info("run %s: %s", self._run, text)
        with self._lock:
            self._log.append(text)

    def _beat(self) -> None:
        while not self._ended.wait(self._every_s):
            with self._lock:
                lines, self._log = self._log, []
                progress, message = self._progress, self._message
            try:
                cancelled = self._api.heartbeat(self._run, self._worker, progress, message, lines)
            except AwayError as error:
                log.warning("no heartbeat: %s", error)
                with self._lock:
                    self._log = lines + self._log
            except LoupeError as error:
                log.warning("run %s is lost: %s", self._run, error)
                self.lost = True
                self.stop.set()
                return
            else:
                if cancelled:
                    self.stop.set()


class Courier:
    """Sends a run's checkpoint to the server, from a thread of its own, where it has changed."""

    def __init__(
        self, api: Api, job: Job, worker: str, folder: Path, pulse: Pulse, every_s: float
    ) -> None:
        self._api, self._run, self._worker, self._folder = api, job.id, worker, folder
        self._limit = job.checkpoint_limit
        self._pulse, self._every_s = pulse, every_s
        self._ended, self._refused = threading.Event(), False
        self._sent = parcel.stamp(folder)
        self._thread = threading.Thread(target=self._go, name=f"courier-{job.id}", daemon=True)

    def __enter__(self) -> "Courier":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def send(self) -> None:
        """Sends it where it is another one than the server has; what fails is said, not raised."""
        stamp = parcel.stamp(self._folder)
        if not stamp or stamp == self._sent or self._refused:
            return
        try:
            data = parcel.pack(self._folder)
            # Known before it is sent: a refusal amid so many bytes may not be heard.
            if len(data) > self._limit:
                raise TransferError("the checkpoint is too large",
                                    expected=f"at most {self._limit} bytes", found=str(len(data)))  # fmt: skip
            self._api.put_checkpoint(self._run, self._worker, data)
            self._sent = stamp
        except (AwayError, LeaseLostError) as error:
            log.warning("run %s: the checkpoint was not sent: %s", self._run, error)
        except LoupeError as error:
            self._refused = True
            self._pulse.say(
                f"no checkpoint is left with the server, a lost worker costs all: {error}"
            )

    def _go(self) -> None:
        while not self._ended.wait(self._every_s):
            self.send()
