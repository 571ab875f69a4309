"""Looks for assignments: on connect, on the server's hint, and now and then. One thread."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from typing import Protocol

from edge_agent.link_rules import Backoff
from edge_agent.update.durable import Durable
from edge_agent.update.target import Target
from fleet_contract.errors import LoupeError, TransferError
from fleet_contract.trust.client import Agreed, AssignmentError

log = logging.getLogger(__name__)


class Verifier(Protocol):
    """The one judge of what may run: `fleet_contract.trust.client.TrustClient`."""

    def refresh(self) -> list[Agreed]:
        """Raises TrustError, TransferError."""


class Lookout:
    """Hands what was verified to `desire`; a refusal becomes one event, not one each time."""

    def __init__(
        self,
        line: str,
        verifier: Verifier,
        durable: Durable,
        desire: Callable[[Target], None],
        changed: Callable[[], None],
        online: Callable[[], bool],
        every_s: float,
    ) -> None:
        self._line, self._verifier, self._durable = line, verifier, durable
        self._desire, self._changed, self._online = desire, changed, online
        self._every_s = every_s
        self._said = ""
        self._stop = threading.Event()
        self._wake = threading.Event()
        self.thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self.thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._wake.set()
        self.thread.join(timeout=5)

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    def _run(self) -> None:
        backoff = Backoff(1, 60)
        while not self._stop.is_set():
            done = self._online() and self.look()
            if done:
                backoff.reset()
            # Without a link there is nothing to hurry for: connecting wakes us.
            hurry = self._online() and not done
            self._wake.wait(backoff.next() if hurry else self._every_s)
            self._wake.clear()

    def look(self) -> bool:
        """Once; False where the link did not carry it."""
        try:
            agreed = self._verifier.refresh()
        except TransferError as error:
            log.info("metadata could not be fetched: %s", error)
            return False
        except LoupeError as error:
            self._refuse(error)
            return True
        except OSError as error:
            # The disk's fault, not the metadata's: look again soon.
            self._say("fault", f"the metadata cannot be kept: {error}", {"class": "disk"})
            return False
        self._said = ""
        for entry in agreed:
            if entry.line == self._line:
                self._desire(Target.of(entry))
        return True

    def _refuse(self, error: LoupeError) -> None:
        data: dict[str, object] = {"class": "trust"}
        line, digest = None, None
        if isinstance(error, AssignmentError):
            line, digest = error.line, error.digest
            data |= {"rollout": error.rollout, "attempt": error.attempt, "digest": digest}
        self._say("refused", str(error), data, line, digest)

    def _say(
        self,
        kind: str,
        text: str,
        data: dict[str, object],
        line: str | None = None,
        digest: str | None = None,
    ) -> None:
        if text == self._said:
            return
        self._said = text
        log.error("%s: %s", kind, text)
        try:
            self._durable.event(kind, text, severity="error", line=line, digest=digest, data=data)
        except sqlite3.Error as full:
            self._said = ""
            log.warning("the event cannot be stored: %s", full)
        self._changed()
