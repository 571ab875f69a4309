"""Sends the spool to the server, in a thread: bounded in flight, until the server's own word covers it."""

import logging
import sqlite3
import threading

from edge_agent.sending import Sender
from fleet_contract.errors import LoupeError
from fleet_contract.messages import Ack

log = logging.getLogger(__name__)

_TURN, _LAST = 100, 20
"""Messages sent before it is asked again whether to stop, and after it was told to."""


class Uplink:
    """One thread; `ack`, `wake` and `reconnected` are called from others."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._fresh = False
        self._acks: list[Ack] = []
        self.thread = threading.Thread(target=self._run, name="uplink", daemon=True)

    def start(self) -> None:
        """Begins to send."""
        self.thread.start()

    def stop(self) -> None:
        """Ends the thread; what is not acknowledged stays in the spool."""
        self._stop.set()
        self._wake.set()
        self.thread.join(timeout=5)

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def reconnected(self) -> None:
        """What was on its way may be lost."""
        with self._lock:
            self._fresh = True
        self._wake.set()

    def ack(self, ack: Ack) -> None:
        """The server's word."""
        with self._lock:
            self._acks.append(ack)
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._send(most=_TURN)
            self._wake.wait(0.2)
            self._wake.clear()
        # What the end itself left behind goes out as well, if it is not much.
        self._send(most=_LAST)

    def _send(self, most: int) -> None:
        try:
            for _ in range(most):
                if not self._step():
                    return
        except (sqlite3.Error, LoupeError) as error:
            # A full disk, say: nothing is lost, the records and the acks come again.
            log.warning("the spool cannot be sent: %s", error)
            self._stop.wait(1)
            return
        self._wake.set()

    def _step(self) -> bool:
        with self._lock:
            fresh, self._fresh = self._fresh, False
            acks, self._acks = self._acks, []
        if fresh:
            self._sender.reconnected()
        for ack in acks:
            self._sender.ack(ack)
        return self._sender.step()
