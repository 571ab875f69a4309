"""The agent: its parts put together, started in order, watched, and ended cleanly."""

import contextlib
import dataclasses
import logging
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

from edge_agent import BUILD_TIME_S, VERSION, health
from edge_agent.batch import BatchStore
from edge_agent.box.client import ADDRESS
from edge_agent.box.records import DATABASE
from edge_agent.box.server import Box
from edge_agent.box.view import Parts, View
from edge_agent.config import StationConfig, load_config
from edge_agent.db import Database
from edge_agent.inspect import Inspector
from edge_agent.judge.base import Today
from edge_agent.judge.make import make_judge
from edge_agent.link import Link, Listeners
from edge_agent.lock import take_lock
from edge_agent.lookout import Lookout
from edge_agent.output.base import Output, Outputs
from edge_agent.output.make import make_files, make_guarded
from edge_agent.reload import change
from edge_agent.report import Report
from edge_agent.sampling import SamplePolicy
from edge_agent.sending import Sender
from edge_agent.source.make import make_source
from edge_agent.source.numbers import KeptNumbers
from edge_agent.spool import Spool, Stamp
from edge_agent.state import StateReport, device_key
from edge_agent.trusted_time import TrustedTime
from edge_agent.update.bundles import BundleStore
from edge_agent.update.durable import Durable
from edge_agent.update.fetch import Fetcher
from edge_agent.update.updater import Updater
from edge_agent.uplink import Uplink
from fleet_contract.board import read_board
from fleet_contract.clock import SystemClock
from fleet_contract.errors import ConfigError, LoupeError, ResourceError
from fleet_contract.messages import Command
from fleet_contract.trust.client import TrustClient

log = logging.getLogger(__name__)

_STALL_S = 30.0
"""An inspection that has not come round for this long is taken for stuck."""
_HANG_S = 5.0
"""Beyond the deadline: an inspection that has not come round for this long is not ready for parts."""
_STATE_S, _TURN_S = 0.5, 0.1
TRUST = "trust"
"""Folder of what was verified, below the data folder."""


class Agent:
    """Made, run once, and gone. Raises LoupeError where the configuration does not hold."""

    def __init__(self, path: Path, config: StationConfig) -> None:
        """`config` was read from `path`, and is read from there again when asked to."""
        self._path, self._config = path, config
        self._line = config.line.name
        self._clock = SystemClock()
        self._board = read_board(config.board.file)
        self._lock = take_lock(config.data.folder)
        self._db = Database(config.data.folder / DATABASE)
        trust = config.data.folder / TRUST
        self._time = TrustedTime(self._clock, trust, BUILD_TIME_S, config.link.cert)
        self._clock_wrong = False
        self._spool = Spool(self._db, config.data.spool_limit, self._stamp)
        self._durable = Durable(self._db, self._spool, self._clock)
        self._meter = health.Meter(self._clock.monotonic())
        self._stopping = self._rereading = False
        self._state_due = threading.Event()
        self.restart_wanted = False
        self._not_stored = ""
        self._make_link()
        self._make_inspection()
        self._make_update()
        self._make_box()

    def _make_link(self) -> None:
        config = self._config
        key = device_key(config.device, config.link)
        self._state = StateReport(
            config.device, self._line, self._board, self._db, self._spool, self._durable, key,
            self._clock, config.plan.scales,
        )  # fmt: skip
        self._commands: list[Command] = []
        listeners = Listeners(
            connected=self._on_connected,
            ack=lambda ack: self._uplink.ack(ack),
            desired=lambda _hint: self._lookout.wake(),
            command=self._on_command,
            takeover=self._on_takeover,
        )
        self._taken_over = False
        self._link = Link(config.device, config.link, listeners, self._time)
        sender = Sender(
            config.device, config.link.ack_timeout, self._link.connection, self._spool, self._clock
        )
        self._uplink = Uplink(sender)

    def _make_inspection(self) -> None:
        config = self._config
        store = BatchStore(self._db, self._spool, line=self._line, camera=config.source.camera)
        report = Report(
            store, ThreadPoolExecutor(1, "report"), self._clock, config.windows,
            line=self._line, camera=config.plan.views[0].name, deadline_s=config.line.deadline,
            stored=self._uplink.wake,
        )  # fmt: skip
        self._guarded = make_guarded(config, self._judging, self._tell)
        outputs: list[Output] = [*make_files(config), *([self._guarded] if self._guarded else [])]
        kept = config.data.folder / f"numbers-{config.source.camera}"
        self._inspector = Inspector(
            make_source(
                config.source,
                config.trigger,
                self._clock,
                self._meter.frames,
                self._tell,
                KeptNumbers(kept, report.progress.base),
                cameras=config.cameras,
                part=config.part,
                recipes=config.recipes,
            ),
            Outputs(outputs),
            report,
            SamplePolicy(config.samples, self._spool.id, store.kept(self._clock)),
            self._meter,
            self._clock,
            deadline_s=config.line.deadline,
            shadow_queue=config.shadow.queue,
            tell=self._tell,
            plan=config.plan,
            today=self._who_judges(),
        )

    def _who_judges(self) -> Today | None:
        config = self._config.judge
        if config is None:
            return None
        return Today(make_judge(config, self._clock, self._tell), config.within)

    def _make_update(self) -> None:
        config = self._config
        store = BundleStore(config.data.folder, config.data.disk_reserve)
        self._updater = Updater(
            config, self._board, self._durable, store, Fetcher(self._link, store),
            self._inspector, self._on_changed,
        )  # fmt: skip
        trust = TrustClient(
            config.data.folder / TRUST,
            image_root=_read(config.trust.image_root, "trust.image_root"),
            director_root=_read(config.trust.director_root, "trust.director_root"),
            device=config.device,
            hardware=self._board.hardware,
            clock=self._clock,
            build_time_s=BUILD_TIME_S,
            fetch=self._link.metadata,
            epoch_floor=self._durable.memory.floor,
        )
        self._lookout = Lookout(
            self._line, trust, self._durable, self._updater.desire, self._on_changed,
            lambda: self._link.online, config.trust.refresh,
        )  # fmt: skip

    def _make_box(self) -> None:
        self._box: Box | None = None
        # One that was killed may have left it.
        with contextlib.suppress(OSError):
            (self._config.data.folder / ADDRESS).unlink(missing_ok=True)
        if not self._config.box.address:
            return
        parts = Parts(
            self._config, self._meter, self._inspector.lately, self._durable, self._inspector,
            self._guarded, lambda: self._link.online, self._clock,
        )  # fmt: skip
        try:
            self._box = Box(self._config.box.address, View(parts), self._config.data.folder)
        except ResourceError as error:
            # Nobody can look in, but parts are judged.
            self._tell("fault", str(error), "warning")

    # Running.

    def stop(self) -> None:
        """Ends `run`; from any thread, or a signal's handler."""
        # A plain flag: a signal's handler that set an Event could wait for its own thread's lock.
        self._stopping = True

    def reread(self) -> None:
        """Reads the configuration anew soon; from any thread, or a signal's handler."""
        self._rereading = True

    def run(self) -> None:
        """Until `stop`. Raises RuntimeError where the inspection ended by itself."""
        cv2.setNumThreads(self._board.threads)
        unclean = self._db.get("running") == "yes"
        self._note_running("yes")
        active = self._updater.recover(unclean=unclean)
        judge = f"bundle {active.digest[:12]} judges" if active else "no bundle judges yet"
        text = f"agent {VERSION} started" + (" after it had ended uncleanly" if unclean else "")
        text = f"{text}; {judge}"
        self._tell("started", text, "warning" if unclean else "info")
        inspection = threading.Thread(
            target=self._inspector.run, args=(active,), name="inspection", daemon=True
        )
        if self._guarded is not None:
            self._guarded.start()
        health.settle_memory()
        inspection.start()
        if self._box is not None:
            self._box.start()
        self._updater.resume()
        updates = threading.Thread(target=self._updater.run, name="update", daemon=True)
        updates.start()
        self._link.start()
        self._uplink.start()
        self._lookout.start()
        health.notify("READY=1")
        threads = [
            inspection, updates, self._link.connection.thread, self._uplink.thread,
            self._lookout.thread, *([self._guarded.thread] if self._guarded else []),
        ]  # fmt: skip
        try:
            self._watch(threads)
        finally:
            self._end(inspection, updates)

    def _watch(self, threads: list[threading.Thread]) -> None:
        beat_s = state_s = -1e9
        while not self._stopping:
            time.sleep(_TURN_S)
            now = self._clock.monotonic()
            ended = [thread.name for thread in threads if not thread.is_alive()]
            if ended:
                raise RuntimeError(f"thread {', '.join(ended)} ended; its reason stands above")
            if now - self._inspector.turned_s < _STALL_S:
                health.notify("WATCHDOG=1")
            self._do_commands()
            self._watch_disk()
            if self._rereading:
                self._reread()
            if now - beat_s >= self._config.heartbeat:
                beat_s = now
                self._watch_clock()
                self._beat(now)
            if self._state_due.is_set() and now - state_s >= _STATE_S and self._link.online:
                state_s = now
                self._state_due.clear()
                self._publish_state()

    def _watch_disk(self) -> None:
        # Told afterwards: while reports cannot be stored, an event cannot either.
        before, self._not_stored = self._not_stored, self._inspector.not_stored
        if before and not self._not_stored:
            text = (
                f"reports could not be stored ({before}); they waited in memory and are stored now"
            )
            self._tell("fault", text, "warning")

    def _watch_clock(self) -> None:
        self._time.look()
        trouble = self._time.trouble
        if trouble and not self._clock_wrong:
            remedy = "times of reports are not to be relied on until it is set"
            self._tell("clock", f"{trouble}: {remedy}", "error")
        if self._clock_wrong and not trouble:
            self._tell("clock", "the clock is right again", "info")
        self._clock_wrong = bool(trouble)

    def _stamp(self) -> Stamp:
        stamp = health.stamp()
        trusted = stamp.clock_synchronised and not self._time.trouble
        return dataclasses.replace(stamp, clock_synchronised=trusted)

    def _reread(self) -> None:
        self._rereading = False
        try:
            found = change(self._config, load_config(self._path))
        except ConfigError as error:
            self._tell("config", f"configuration kept as it was: {error}", "error")
            return
        self._config = self._updater.config = found.config
        if "samples" in found.applied:
            self._inspector.sample_by(found.config.samples)
        self._tell("config", found.text, "warning" if found.waiting else "info")

    def _beat(self, now_s: float) -> None:
        try:
            beat = self._meter.heartbeat(now_s, self._config.data.folder, self._spool.usage())
        except (sqlite3.Error, OSError) as error:
            log.warning("no heartbeat, the device cannot be looked at: %s", error)
            return
        self._link.publish("heartbeat", beat.encode())

    def _publish_state(self) -> None:
        try:
            signed = self._state.signed(inspecting=self._inspector.inspecting)
        except sqlite3.Error as error:
            log.warning("the state's counter cannot be stored: %s", error)
            self._state_due.set()
            return
        if not self._link.publish("state", signed):
            self._state_due.set()

    def _end(self, inspection: threading.Thread, updates: threading.Thread) -> None:
        health.notify("STOPPING=1")
        if self._box is not None:
            self._box.close()
        self._lookout.stop()
        self._updater.stop()
        self._inspector.stop()
        inspection.join(timeout=10)
        updates.join(timeout=10)
        clean = self._stopping and not inspection.is_alive() and not updates.is_alive()
        self._tell("stopped", "agent stopped", "info")
        self._uplink.stop()
        self._link.stop()
        if clean:
            self._note_running("no")
        self._db.close()
        self._lock.close()

    def _note_running(self, state: str) -> None:
        """By it the next start knows how this run ended."""
        try:
            self._db.set("running", state)
        except sqlite3.Error as error:
            log.warning("that the agent runs (%s) cannot be stored: %s", state, error)

    def _judging(self) -> bool:
        """Whether the line may expect verdicts: a bundle judges, and the inspection comes round."""
        since_s = self._clock.monotonic() - self._inspector.turned_s
        return self._inspector.inspecting and since_s < _HANG_S + self._config.line.deadline

    # What comes from the other threads.

    def _tell(
        self, kind: str, text: str, severity: str, data: dict[str, object] | None = None
    ) -> None:
        log.log(logging.INFO if severity == "info" else logging.WARNING, "%s: %s", kind, text)
        try:
            self._durable.event(kind, text, severity=severity, line=self._line, data=data)
        except sqlite3.Error as error:
            log.warning("the event cannot be stored: %s", error)
        self._uplink.wake()

    def _on_connected(self) -> None:
        self._uplink.reconnected()
        self._state_due.set()
        self._lookout.wake()
        self._updater.wake()

    def _on_changed(self) -> None:
        self._state_due.set()
        self._uplink.wake()

    def _on_takeover(self) -> None:
        if self._taken_over:
            return
        self._taken_over = True
        self._tell(
            "fault",
            f"another agent uses this identity ({self._config.device}): the broker keeps ending the "
            "connection right after it was accepted. Give each device a certificate of its own.",
            "error",
        )

    def _on_command(self, command: Command) -> None:
        # On the link's thread: what a command asks for may wait for the inspection.
        self._commands.append(command)

    def _do_commands(self) -> None:
        while self._commands:
            command = self._commands.pop(0)
            text = f"command {command.op} {command.id} done"
            try:
                self._do(command)
            except LoupeError as error:
                text = f"command {command.op} {command.id} failed: {error}"
            self._tell("command", text, "info", {"id": command.id, "op": command.op})

    def _do(self, command: Command) -> None:
        if command.op == "sample":
            self._inspector.request_samples(command.count)
        else:
            self.restart_wanted = True
            self._stopping = True


def _read(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{key}: {path} cannot be read: {error}",
            remedy="`loupe-server device add` writes the device's files.",
        ) from error
