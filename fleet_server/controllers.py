"""What the server does by itself: rules that look at the database every so often, on one thread."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet_server.drift import service as drift
from fleet_server.drift.playbook import Playbook
from fleet_server.runs import service as runs
from fleet_server.runs import triggers
from fleet_server.runs.checkpoints import Sweeper
from fleet_server.runs.models import TrainingRun
from fleet_server.services import Services
from fleet_server.telemetry.service import forget_windows
from fleet_server.trust.watch import look as watch_expiry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tick:
    """One rule and how often it looks. `act` is idempotent: it may be stopped at any instant."""

    name: str
    every_s: float
    act: Callable[[], None]


class Controllers:
    """Runs ticks in turn until stopped; one that fails is logged, counted, and tried again."""

    def __init__(self, services: Services, ticks: Sequence[Tick]) -> None:
        self._services, self._ticks = services, ticks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="controllers", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the tick that is running."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        due = dict.fromkeys((tick.name for tick in self._ticks), 0.0)
        while not self._stop.is_set():
            for tick in self._ticks:
                if self._services.clock.monotonic() >= due[tick.name]:
                    self._once(tick)
                    due[tick.name] = self._services.clock.monotonic() + tick.every_s
            self._stop.wait(max(0.05, min(due.values()) - self._services.clock.monotonic()))

    def _once(self, tick: Tick) -> None:
        try:
            tick.act()
        except Exception:
            self._services.failures[tick.name] += 1
            log.exception("%s failed; it will be tried again", tick.name)


def core_ticks(services: Services) -> list[Tick]:
    """Drift, the incidents' playbook, the queue of runs, what is old enough to forget, expiry."""
    playbook = Playbook(services.config.drift, services.publisher, services.store)

    def look() -> None:
        with services.database.write() as session:
            opened = drift.tick(session, services.clock.time(), services.config.drift)
        for incident in opened:
            hint = {"incident": incident.id, "cause": incident.cause, "device": incident.device}
            services.bus.publish("incidents", hint)

    def follow() -> None:
        with services.database.write() as session:
            changed = playbook.tick(session, services.clock.time())
        for incident_id in changed:
            services.bus.publish("incidents", {"incident": incident_id})

    def forget() -> None:
        with services.database.write() as session:
            before = services.clock.time() - services.config.retention.windows
            forget_windows(session, before)

    def watch() -> None:
        watch_expiry(services)

    return [
        Tick("drift", 0.5, look),
        Tick("playbook", 1.0, follow),
        *_run_ticks(services),
        Tick("retention", 600.0, forget),
        Tick("expiry", 600.0, watch),
    ]


def _run_ticks(services: Services) -> list[Tick]:
    """Leases that ran out, runs that are due, checkpoints that nobody needs."""
    sweeper = Sweeper(services.store)

    def tell(changed: list[TrainingRun]) -> None:
        for run in changed:
            services.bus.publish("runs", {"run": run.id, "state": run.state})

    def expire() -> None:
        with services.database.write() as session:
            late = runs.expire(session, services.clock.time(), services.config.runs)
        tell(late)

    def start() -> None:
        with services.database.write() as session:
            started = triggers.tick(session, services.store, services.clock.time())
        tell(started)

    def sweep() -> None:
        with services.database.read() as session:
            sweeper.sweep(session)

    return [
        Tick("leases", 2.0, expire),
        Tick("triggers", 2.0, start),
        Tick("checkpoints", 60.0, sweep),
    ]
