"""A worker: leases training runs from a server, does them, submits and signs what comes out."""

import json
import logging
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fleet_contract import archive
from fleet_contract.clock import Clock
from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import DataError, LoupeError, TransferError
from fleet_contract.trust.approve import sign_release
from fleet_contract.trust.custom import target_name
from fleet_contract.trust.keys import load_signer
from trainer import gates, parcel
from trainer.api import Api, AwayError, LeaseLostError, patiently
from trainer.build import Builder, Built, Watch
from trainer.bundle import Origin
from trainer.compare import MAY_SHIP
from trainer.data.remote import fetch_version
from trainer.data.store import Store
from trainer.job import Job, parse_job
from trainer.pulse import CHECKPOINT_S, Courier, Pulse
from trainer.training import StoppedError

log = logging.getLogger(__name__)

T = TypeVar("T")

_TRIES = 8
_SLOWEST_POLL_S = 30.0


@dataclass(frozen=True, slots=True)
class Work:
    """What one build is made from."""

    job: Job
    store: Store
    version: DatasetVersion
    champion: bytes | None
    checkpoint: Path
    """Read where it is there, and replaced as a whole while the training goes on; further members
    of an ensemble have theirs beside it (`trainer.parcel`)."""
    clock: Clock
    watch: Watch


def build(work: Work) -> Built:
    """Trains, measures and packs. Raises LoupeErrors, StoppedError where `watch` says so."""
    job = work.job
    origin = Origin(run=job.id, incident=job.incident, champion=job.champion)
    return Builder(job.config, work.store, work.version, work.clock, work.watch, origin=origin,
                   champion=work.champion, checkpoint=work.checkpoint).build()  # fmt: skip


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
        checkpoint_s: float = CHECKPOINT_S,
        build: Callable[[Work], Built] = build,
    ) -> None:
        self._api, self._store, self._key_pem, self._name = api, store, key_pem, name
        self._clock, self.stop, self._poll_s = clock, stop, poll_s
        self._checkpoint_s, self._make = checkpoint_s, build
        self.done, self.failed, self.given_back = 0, 0, 0

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
        with (
            tempfile.TemporaryDirectory(prefix="loupe-run-") as name,
            Pulse(self._api, job.id, self._name, job.lease_s) as pulse,
        ):
            folder = Path(name)
            self._go_on(job, folder, pulse)
            with Courier(self._api, job, self._name, folder, pulse, self._checkpoint_s) as courier:
                try:
                    built = self._build(job, folder / parcel.NAME, pulse)
                except StoppedError:
                    if pulse.lost:
                        raise LeaseLostError(f"the lease of run {job.id} was lost") from None
                    if pulse.stop.is_set():
                        raise
                    self._give_back(job, courier)
                    return
            if pulse.lost:
                raise LeaseLostError(f"the lease of run {job.id} was lost")
            self._end(job, built)

    def _go_on(self, job: Job, folder: Path, pulse: Pulse) -> None:
        """Gets what an earlier worker left; without it the training begins at its start."""
        wanted = job.checkpoint
        if wanted is None:
            return
        try:
            data = self._patiently(lambda: self._api.checkpoint(job.id, self._name), pulse.stop)
            if archive.digest(data) != wanted:
                raise TransferError("the server sent another checkpoint than it named",
                                    expected=wanted[:12], found=archive.digest(data)[:12])  # fmt: skip
            parcel.unpack(data, folder)
        except (TransferError, DataError) as error:
            pulse.say(f"begins at the start: {error}")

    def _build(self, job: Job, checkpoint: Path, pulse: Pulse) -> Built:
        def watch(share: float, message: str) -> bool:
            return pulse.watch(share, message) or self.stop.is_set()

        def tick(done: int, total: int) -> bool:
            return watch(0.0, f"fetching the dataset: {done} of {total}")

        version = self._patiently(
            lambda: fetch_version(self._api, self._store, job.dataset, tick), pulse.stop
        )
        if version is None:
            raise StoppedError("the run was stopped")
        champion = self._champion(job, pulse)
        return self._make(Work(job, self._store, version, champion, checkpoint, self._clock, watch))

    def _give_back(self, job: Job, courier: Courier) -> None:
        """This worker ends, the run does not: another one goes on with it."""
        courier.send()
        self._api.give_back(job.id, self._name)
        self.given_back += 1
        log.info("run %s is given back", job.id)

    def _end(self, job: Job, built: Built) -> None:
        outcome, missed = built.comparison.get("outcome", ""), gates.failed(built.evaluation)
        if outcome and outcome not in MAY_SHIP:
            # The figures go to the server, the bundle stays here: a loser is never released.
            why = f"the challenger is {outcome}: {built.comparison['why']}"
            self._failed(job, built, why)
        elif missed:
            # The server takes it in, to be looked at, and offers it to nobody to sign.
            self._patiently(lambda: self._api.submit(built.archive, job.id), self.stop)
            why = f"the bundle misses the gates of its line: {'; '.join(missed)}"
            self._failed(job, built, why, bundle=built.digest)
        else:
            self._release(job, built)
            log.info("run %s made bundle %s", job.id, built.digest[:12])
            self._finish(job.id, _ended(built, "succeeded", bundle=built.digest))
            self.done += 1

    def _failed(self, job: Job, built: Built, why: str, *, bundle: str | None = None) -> None:
        self.failed += 1
        log.warning("run %s: %s", job.id, why)
        self._finish(job.id, _ended(built, "failed", bundle=bundle, error=why))

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
            signer=load_signer(self._key_pem),
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


def _ended(
    built: Built, outcome: str, *, bundle: str | None = None, error: str = ""
) -> dict[str, Any]:
    return {"outcome": outcome, "bundle": bundle, "comparison": built.comparison,
            "metrics": built.evaluation, "error": error}  # fmt: skip
