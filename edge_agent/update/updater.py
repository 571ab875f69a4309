"""The update's thread: carries each line's update through the table, one durable step after the other.

It decides nothing that `plan` and `machine` do not say, and keeps nothing that `Durable` does not
hold: killed at any instant, `recover` finds where it stood.
"""

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_agent.canary import Share
from edge_agent.canary import Watch as CanaryWatch
from edge_agent.config import StationConfig
from edge_agent.loaded import Loaded, check_scale, load_bundle
from edge_agent.update.bundles import BundleStore, DiskFullError
from edge_agent.update.durable import Durable
from edge_agent.update.fetch import Cancelled, Fetcher
from edge_agent.update.machine import BESIDE, EXCHANGING, Event
from edge_agent.update.plan import Place, Step, plan
from edge_agent.update.probation import Outcome, Probation
from edge_agent.update.target import Target, Update
from edge_agent.update.trial import run_trial
from fleet_contract.archive import load_folder
from fleet_contract.board import Board
from fleet_contract.errors import BundleError, LoupeError, ModelError, StateError, TransferError
from fleet_contract.names import Slot, UpdateState, Verdict

log = logging.getLogger(__name__)

TICK_S = 0.2
_LOCKABLE = frozenset({Step.BEGIN, Step.ALLOT, Step.PROMOTE})
"""What the line's lock holds up; the way back and labels stay open."""
_RETRY_S = (1.0, 2.0, 5.0, 10.0, 20.0)


class Watch(Protocol):
    """A bundle on probation, as the inspection feeds it."""

    probation: Probation

    def end(self, outcome: Outcome) -> Loaded | None:
        """What is to judge from now on. Does not wait: the outcome is made durable after it."""


class Line(Protocol):
    """What updating needs of the inspection. Each call returns once it is done, between two parts."""

    def activate(self, loaded: Loaded | None, watch: Watch | None) -> None:
        """From the next part on `loaded` judges, `watch`ed."""

    def shadow(self, candidate: Loaded | None) -> None:
        """Runs a candidate beside the active bundle, or none."""

    def canary(self, candidate: Loaded, share: Share, watch: CanaryWatch) -> None:
        """Has a candidate judge its share of the parts, `watch`ed."""


@dataclass(frozen=True, slots=True)
class ProbationEnd:
    """How a probation ended, and what judges since."""

    target: Target
    outcome: Outcome
    judges: Loaded | None


class _Watch:
    def __init__(self, updater: "Updater", target: Target, new: Loaded, old: Loaded | None) -> None:
        self.probation = Probation(updater.config.probation, new.mean_score)
        self._updater, self._target, self._new, self._old = updater, target, new, old

    def end(self, outcome: Outcome) -> Loaded | None:
        judges = self._new if outcome.held else self._old
        self._updater.probation_ended(ProbationEnd(self._target, outcome, judges))
        return judges


class _ShareWatch:
    """The probation of a share: again and again, for as long as it is held and not the whole."""

    def __init__(self, updater: "Updater", target: Target, new: Loaded, old: Loaded | None) -> None:
        self._updater, self._target, self._new, self._old = updater, target, new, old
        self._probation = self._fresh()

    def _fresh(self) -> Probation:
        return Probation(self._updater.config.probation, self._new.mean_score)

    def part(self, verdict: Verdict, score: float | None, *, late: bool, fault: bool) -> bool:
        outcome = self._probation.part(verdict, score, late=late, fault=fault)
        if outcome is None:
            return True
        if outcome.held:
            self._probation = self._fresh()
        else:
            self._updater.probation_ended(ProbationEnd(self._target, outcome, self._old))
        return outcome.held


class Updater:
    """One line's updates. `tick` and `recover` belong to one thread; `desire` to any."""

    def __init__(
        self,
        config: StationConfig,
        board: Board,
        durable: Durable,
        store: BundleStore,
        fetcher: Fetcher,
        line: Line,
        changed: Callable[[], None],
    ) -> None:
        self.config = config
        self._board, self._durable, self._store = board, durable, store
        self._fetcher, self._line, self._changed = fetcher, line, changed
        self._name = config.line.name
        self._desired: Target | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._active: Loaded | None = None
        self._failures = 0
        self._ended: queue.SimpleQueue[ProbationEnd] = queue.SimpleQueue()
        self._ending: ProbationEnd | None = None

    def desire(self, target: Target | None) -> None:
        """What the verified metadata assign now; None: nothing new, keep running."""
        self._desired = target
        self._wake.set()

    def wake(self) -> None:
        """The link is there again: what it put off may be tried now."""
        self._failures = 0
        self._wake.set()

    def stop(self) -> None:
        """Ends `run` and whatever waits in it."""
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Until `stop`."""
        while not self._stop.is_set():
            try:
                busy = self.tick()
                self._failures = 0
            except (sqlite3.Error, LoupeError, OSError) as error:
                # A full disk or a link that does not carry: the step is done again later.
                log.warning("update step is put off: %s", error)
                busy = False
                delay = _RETRY_S[min(self._failures, len(_RETRY_S) - 1)]
                self._failures += 1
                self._wake.wait(delay)
            if not busy:
                self._wake.wait(TICK_S)
                self._wake.clear()

    def tick(self) -> bool:
        """One step if there is one to do. Raises TransferError and sqlite3.Error: call again later."""
        if self._settle_probation() or self._orders():
            return True
        if self._desired is not None and self._follow(self._desired):
            return True
        update = self._durable.update(self._name)
        return update is not None and self._work(update)

    # Starting.

    def recover(self, *, unclean: bool) -> Loaded | None:
        """Finds where the last run stood; returns what is to judge. Before the inspection begins."""
        update = self._durable.update(self._name)
        if update is not None and unclean:
            try:
                self._count_death(update)
                self._back_to_proven()
            except sqlite3.Error as error:
                log.error("the death before cannot be noted, the active bundle stays: %s", error)
        self._active = self._load_active()
        self._store.clean(self._durable.needed(), self._durable.arriving())
        return self._active

    def resume(self) -> None:
        """Puts the candidate and the watch back in place, once the inspection runs."""
        update = self._durable.update(self._name)
        if update is None:
            return
        if update.state in BESIDE:
            self._load_candidate(update.target)
        elif update.state is UpdateState.PROBATION and self._active is not None:
            previous = self._load_slot(Slot.PREVIOUS)
            watch = _Watch(self, update.target, self._active, previous)
            self._line.activate(self._active, watch)

    def _count_death(self, update: Update) -> None:
        if update.state not in BESIDE | EXCHANGING:
            return
        deaths = self._durable.count_death(update.target)
        if deaths < self.config.probation.deaths:
            return
        reason = f"the agent died {deaths} times with this bundle in state {update.state}"
        on_trial = update.state in (UpdateState.CANARY, UpdateState.PROBATION)
        event = Event.REVERTED if on_trial else Event.FAILED
        self._durable.advance(update.target, event, failure="crash", reason=reason)

    def _back_to_proven(self) -> None:
        """After a death on probation the line starts with what was committed, and tries again from there."""
        update = self._durable.update(self._name)
        previous = self._durable.slots.get(self._name, Slot.PREVIOUS)
        if update is not None and update.state is UpdateState.PROBATION and previous is not None:
            reason = "the agent died on probation; the bundle before judges until it is tried again"
            self._durable.advance(update.target, Event.INTERRUPTED, reason=reason)

    def _load_active(self) -> Loaded | None:
        """The active bundle, or the one before where it does not load any more."""
        while (row := self._durable.slots.get(self._name, Slot.ACTIVE)) is not None:
            try:
                return self._load(row.digest)
            except (BundleError, ModelError) as error:
                log.error("active bundle %s: %s", row.digest[:12], error)
                try:
                    self._durable.event(
                        "fault", f"the active bundle does not load: {error}", severity="error",
                        line=self._name, digest=row.digest,
                    )  # fmt: skip
                    if self._durable.slots.get(self._name, Slot.PREVIOUS) is None:
                        # Nothing to go back to: an empty slot lets the assignment be fetched anew.
                        self._durable.slots.clear(self._name, Slot.ACTIVE)
                        return None
                    self._durable.roll_back(self._name, f"does not load: {error}"[:500])
                except sqlite3.Error as full:
                    log.error("that cannot be stored, the bundle before judges: %s", full)
                    return self._load_slot(Slot.PREVIOUS)
        return None

    def _load_slot(self, slot: Slot) -> Loaded | None:
        row = self._durable.slots.get(self._name, slot)
        try:
            return self._load(row.digest) if row else None
        except (BundleError, ModelError) as error:
            log.error("bundle in slot %s: %s", slot, error)
            return None

    def _load(self, digest: str) -> Loaded:
        folder = self._store.folder(digest)
        try:
            self._store.check(digest)
            return load_bundle(folder, digest, self._board, self.config.plan.uncalibrated)
        except OSError as error:
            raise BundleError(f"bundle {digest[:12]} cannot be read: {error}") from error

    # Orders and assignments.

    def _orders(self) -> bool:
        for number, kind, line in self._durable.orders():
            if kind == "rollback" and line == self._name:
                self._operator_rollback(number)
            elif kind in ("lock", "unlock") and line == self._name:
                self._durable.lock_updates(line, kind == "lock")
                self._durable.order_done(number)
                self._changed()
            else:
                self._durable.order_done(number)
            return True
        return False

    def _operator_rollback(self, number: int) -> None:
        text, severity = "an operator rolled the line back", "warning"
        try:
            self._back(text)
        except StateError as error:
            text, severity = f"a rollback was ordered, but: {error}", "error"
        self._durable.event("rollback", text, severity=severity, line=self._name)
        self._durable.order_done(number)
        self._changed()

    def _back(self, reason: str) -> None:
        """To the previous bundle, between two parts. Raises StateError where there is none.

        A candidate's share goes back to the active bundle instead.
        """
        update = self._durable.update(self._name)
        if update is not None and update.state is UpdateState.CANARY:
            self._line.shadow(None)
            self._durable.roll_back(self._name, reason)
            return
        previous = self._load_slot(Slot.PREVIOUS)
        if previous is None:
            raise StateError(f"line {self._name} has no previous bundle that loads")
        self._line.shadow(None)
        self._durable.roll_back(self._name, reason)
        self._active = previous
        self._line.activate(previous, None)

    def _follow(self, target: Target) -> bool:
        step = plan(target.order, self._durable.view(target))
        if step is Step.NOTHING or (step in _LOCKABLE and self._locked()):
            return False
        update = self._durable.update(self._name)
        if step is Step.SUPERSEDE and update is not None:
            self._leave(update, Event.SUPERSEDED, reason="another assignment came")
        elif step is Step.REVERT:
            self._back("the server ordered the bundle before")
        elif step is Step.PROMOTE:
            self._line.shadow(None)
            self._durable.advance(target, Event.PROMOTED)
        elif step is Step.ALLOT and update is not None:
            self._allot(target, update)
        elif step is Step.RELABEL:
            self._durable.relabel(target)
        else:
            event = Event.ASSIGNED if step is Step.BEGIN else Event.SETTLED
            self._durable.begin(target, event)
        self._changed()
        return True

    def _allot(self, target: Target, update: Update) -> None:
        """A share of the parts, or another one: durable before the candidate judges the first."""
        if update.state is UpdateState.CANARY:
            self._durable.relabel(target)
        else:
            self._durable.advance(target, Event.ALLOTTED)
        self._load_candidate(target)

    def _locked(self) -> bool:
        return self._durable.update_locked(self._name)

    def _leave(self, update: Update, event: Event, *, failure: str = "", reason: str = "",
               numbers: dict[str, float] | None = None) -> None:  # fmt: skip
        if update.state in BESIDE:
            self._line.shadow(None)
        self._durable.advance(update.target, event, failure=failure, reason=reason, numbers=numbers)
        self._store.clean(self._durable.needed(), self._durable.arriving())
        self._changed()

    # The steps of the table.

    def _work(self, update: Update) -> bool:
        steps: dict[UpdateState, Callable[[Target], None]] = {
            UpdateState.FETCHING: self._fetch,
            UpdateState.VERIFIED: self._unpack,
            UpdateState.STAGED: self._try,
            UpdateState.SELF_TEST: self._trial,
            UpdateState.ACTIVATING: self._activate,
        }
        step = steps.get(update.state)
        if step is None or (_gives_parts(update) and self._locked()):
            return False
        try:
            step(update.target)
        except Cancelled:
            return not self._stop.is_set()
        except DiskFullError as error:
            self._leave(update, Event.FAILED, failure="disk", reason=str(error))
        except (BundleError, ModelError) as error:
            self._leave(update, Event.FAILED, failure="bundle", reason=str(error))
        except (TransferError, StateError):
            raise
        except LoupeError as error:
            self._leave(update, Event.FAILED, failure="disk", reason=str(error))
        except OSError as error:
            reason = f"the device fails in state {update.state}: {error}"
            self._leave(update, Event.FAILED, failure="disk", reason=reason)
        self._changed()
        return True

    def _cancelled(self) -> bool:
        desired = self._desired
        if self._stop.is_set() or self._durable.orders():
            return True
        if desired is None:
            return False
        return plan(desired.order, self._durable.view(desired)) is not Step.NOTHING

    def _fetch(self, target: Target) -> None:
        numbers = self._fetcher.fetch(target, self._cancelled)
        self._durable.advance(target, Event.FETCHED, numbers=numbers)

    def _unpack(self, target: Target) -> None:
        self._store.unpack(target.digest)
        manifest = load_folder(self._store.folder(target.digest))
        check_scale(manifest, self.config.plan.uncalibrated)
        self._durable.advance(target, Event.UNPACKED)
        self._store.clean(self._durable.needed(), self._durable.arriving())

    def _try(self, target: Target) -> None:
        self._durable.advance(target, Event.TRIED)

    def _trial(self, target: Target) -> None:
        limit = self.config.trial.max_latency or self.config.line.deadline
        result = run_trial(
            self._store.folder(target.digest), self._board,
            time_limit_s=self.config.trial.time_limit, max_latency_s=limit,
            cancelled=self._cancelled,
        )  # fmt: skip
        if result is None:
            raise Cancelled
        update = self._durable.update(self._name)
        if result.failure and update is not None:
            self._leave(update, Event.FAILED, failure=result.failure, reason=result.reason,
                        numbers=result.numbers)  # fmt: skip
        elif target.order.place is Place.WHOLE:
            self._durable.advance(target, Event.PASSED, numbers=result.numbers)
        else:
            shadow = target.order.place is Place.SHADOW
            event = Event.SHADOWED if shadow else Event.ALLOTTED
            self._durable.advance(target, event, numbers=result.numbers)
            self._load_candidate(target)

    def _load_candidate(self, target: Target) -> None:
        # What stood there goes first: memory need not hold a third bundle.
        self._line.shadow(None)
        try:
            loaded = self._load(target.digest)
        except (BundleError, ModelError) as error:
            self._durable.advance(target, Event.FAILED, failure="bundle", reason=str(error))
            self._changed()
            return
        share = target.assignment.share
        if share is None:
            self._line.shadow(loaded)
            return
        seed = f"{self._durable.spool_id}/{target.digest}/{target.assignment.attempt}"
        watch = _ShareWatch(self, target, loaded, self._active)
        self._line.canary(loaded, Share(seed, share), watch)

    def _activate(self, target: Target) -> None:
        new, old = self._load(target.digest), self._active
        self._line.shadow(None)
        if self._durable.memory.proven(self._name, target.digest):
            event, watch = Event.RETURNED, None
        else:
            event, watch = Event.EXCHANGED, _Watch(self, target, new, old)
        # Durable first, while the old bundle still judges: the line never waits for the disk.
        self._durable.advance(target, event)
        self._active = new
        self._line.activate(new, watch)

    def probation_ended(self, end: ProbationEnd) -> None:
        """Called by the inspection, which has already gone back where it must."""
        self._ended.put(end)
        self._wake.set()

    def _settle_probation(self) -> bool:
        """Makes the end of a probation durable; it is tried again where it cannot be stored."""
        if self._ending is None:
            with contextlib.suppress(queue.Empty):
                self._ending = self._ended.get_nowait()
        if self._ending is None:
            return False
        end = self._ending
        event = Event.HELD if end.outcome.held else Event.REVERTED
        # An operator or the server may have been faster; what they put in place stays.
        with contextlib.suppress(StateError):
            self._durable.advance(
                end.target, event, failure="" if end.outcome.held else "probation",
                reason=end.outcome.reason, numbers=end.outcome.numbers,
            )  # fmt: skip
            self._active = end.judges
            if event is Event.REVERTED:
                # A share may have been changed just before it was lost.
                self._line.shadow(None)
        self._ending = None
        self._changed()
        return True


def _gives_parts(update: Update) -> bool:
    """Whether the next step gives the bundle parts to judge."""
    tested = update.state is UpdateState.SELF_TEST
    return update.state is UpdateState.ACTIVATING or (
        tested and update.target.order.place is Place.SHARE
    )
