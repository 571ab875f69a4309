"""A worker: leases training runs from a server, does them, submits and signs what comes out."""

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fleet_contract import archive
from fleet_contract.clock import Clock
from fleet_contract.errors import ConfigError, LoupeError, TransferError
from fleet_contract.trust.approve import sign_release
from fleet_contract.trust.custom import target_name
from trainer.api import Api, AwayError, LeaseLostError, patiently
from trainer.build import Builder, Built
from trainer.bundle import Origin
from trainer.compare import MAY_SHIP
from trainer.config import TrainerConfig, parse_config
from trainer.data.remote import fetch_version
from trainer.data.store import Store
from trainer.training import StoppedError

log = logging.getLogger(__name__)

T = TypeVar("T")

_BEATS_A_LEASE = 4
_SLOWEST_BEAT_S = 2.0
"""People watch the progress."""
_TRIES = 8
_SLOWEST_POLL_S = 30.0


@dataclass(frozen=True, slots=True)
class Job:
    """A leased run."""

    id: str
    line: str
    dataset: str
    champion: str | None
    incident: str
    config: TrainerConfig
    lease_s: float


def parse_job(lease: dict[str, Any]) -> Job:
    """Raises ConfigError where the run's configuration is wrong, or a field is missing."""
    try:
        config = parse_config(str(lease["config"]), f"configuration of line {lease['line']}")
        # The line's epoch is the floor that the server signs; a bundle below it would not be taken.
        epoch = max(config.bundle.epoch, int(lease["epoch"]))
        bundle = config.bundle.model_copy(update={"epoch": epoch})
        return Job(
            id=str(lease["id"]),
            line=str(lease["line"]),
            dataset=str(lease["dataset"]),
            champion=lease.get("champion"),
            incident="" if lease.get("incident") is None else str(lease["incident"]),
            config=config.model_copy(update={"bundle": bundle}),
            lease_s=float(lease["lease_s"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"the server's run is not usable: {error!r}") from error


class Pulse:
    """Heartbeats of one run, from a thread of its own; says whether to stop."""

    def __init__(self, api: Api, run: str, worker: str, lease_s: float) -> None:
        self._api, self._run, self._worker = api, run, worker
        self._every_s = min(lease_s / _BEATS_A_LEASE, _SLOWEST_BEAT_S)
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._progress, self._message, self._log = 0.0, "", list[str]()
        self.stop, self.lost = threading.Event(), False
        self._thread = threading.Thread(target=self._beat, name=f"pulse-{run}", daemon=True)

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def watch(self, share: float, message: str) -> bool:
        """Takes the state of the work; True where it is to stop. Each new step becomes a log line."""
        with self._lock:
            if message.split(":")[0] != self._message.split(":")[0]:
                self._log.append(message)
            self._progress, self._message = share, message
        return self.stop.is_set()

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


class Worker:
    """Does one run after another until `stop` is set."""

    def __init__(
        self,
        api: Api,
        store: Store,
        key_pem: bytes,
        name: str,
        clock: Clock,
        stop: threading.Event,
        *,
        poll_s: float = 1.0,
    ) -> None:
        self._api, self._store, self._key_pem, self._name = api, store, key_pem, name
        self._clock, self.stop, self._poll_s = clock, stop, poll_s
        self.done, self.failed = 0, 0

    def run(self, *, once: bool = False) -> None:
        """Until told to stop; with `once`, until one run was done. A server that is away is waited for."""
        pause_s = self._poll_s
        while not self.stop.is_set():
            try:
                lease = self._api.lease(self._name)
            except AwayError as error:
                log.warning("%s", error)
                pause_s = min(pause_s * 2, _SLOWEST_POLL_S)
                self.stop.wait(pause_s)
                continue
            pause_s = self._poll_s
            if lease is None:
                self.stop.wait(pause_s)
                continue
            self._guarded(lease)
            if once:
                return

    def _guarded(self, lease: dict[str, Any]) -> None:
        run = str(lease.get("id"))
        try:
            self._do(parse_job(lease))
            self.done += 1
        except (LeaseLostError, AwayError) as error:
            self.failed += 1
            log.warning("run %s is given up: %s", run, error)
        except LoupeError as error:
            self.failed += 1
            log.error("run %s failed: %s", run, error)
            self._finish_failed(run, str(error))
        except Exception as error:
            # The edge of the process: whatever one run does must not end the worker.
            self.failed += 1
            log.exception("run %s failed", run)
            self._finish_failed(run, f"unexpected {type(error).__name__}: {error}")

    def _do(self, job: Job) -> None:
        with Pulse(self._api, job.id, self._name, job.lease_s) as pulse:
            try:
                built = self._build(job, pulse)
            except StoppedError:
                if pulse.lost:
                    raise LeaseLostError(f"the lease of run {job.id} was lost") from None
                raise
            outcome = built.comparison.get("outcome", "")
            if outcome and outcome not in MAY_SHIP:
                raise StoppedError(f"the challenger is {outcome}: {built.comparison['why']}")
            self._release(job, built)
            log.info("run %s made bundle %s", job.id, built.digest[:12])
            self._finish(job.id, _success(built))

    def _build(self, job: Job, pulse: Pulse) -> Built:
        def watch(share: float, message: str) -> bool:
            return pulse.watch(share, message) or self.stop.is_set()

        def tick(done: int, total: int) -> bool:
            return watch(0.0, f"fetching the dataset: {done} of {total}")

        version = self._patiently(
            lambda: fetch_version(self._api, self._store, job.dataset, tick), pulse.stop
        )
        if version is None:
            raise StoppedError("the run was stopped")
        origin = Origin(run=job.id, incident=job.incident, champion=job.champion)
        champion = self._champion(job, pulse)
        return Builder(job.config, self._store, version, self._clock, watch, origin=origin,
                       champion=champion).build()  # fmt: skip

    def _champion(self, job: Job, pulse: Pulse) -> bytes | None:
        digest = job.champion
        if digest is None:
            return None
        data = self._patiently(lambda: self._api.bundle(digest), pulse.stop)
        if archive.digest(data) != digest:
            raise TransferError("the server sent another champion than asked for",
                                expected=digest[:12], found=archive.digest(data)[:12])  # fmt: skip
        return data

    def _release(self, job: Job, built: Built) -> None:
        self._patiently(lambda: self._api.submit(built.archive, job.id), self.stop)
        asked = self._patiently(lambda: self._api.to_sign(built.digest), self.stop)
        keyid, signature = sign_release(
            json.dumps(asked["metadata"]).encode(),
            target=target_name(job.line, built.digest),
            key_pem=self._key_pem,
            previous=json.dumps(asked["previous"]).encode(),
        )
        self._patiently(lambda: self._api.add_signature(built.digest, keyid, signature), self.stop)

    def _finish(self, run: str, body: dict[str, Any]) -> None:
        self._patiently(lambda: self._api.finish(run, {"worker": self._name, **body}), self.stop)

    def _finish_failed(self, run: str, error: str) -> None:
        body: dict[str, Any] = {
            "outcome": "failed",
            "bundle": None,
            "comparison": {},
            "metrics": {},
            "error": error,
        }
        try:
            self._finish(run, body)
        except LoupeError as problem:
            log.warning("run %s: its failure was not taken: %s", run, problem)

    def _patiently(self, call: Callable[[], T], stop: threading.Event) -> T:
        return patiently(call, stop.wait, _TRIES)


def _success(built: Built) -> dict[str, Any]:
    return {"outcome": "succeeded", "bundle": built.digest, "comparison": built.comparison,
            "metrics": built.evaluation, "error": ""}  # fmt: skip
