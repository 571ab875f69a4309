"""One thread an output: shows or tells, reconnects with backoff, and says once that its peer is gone."""

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Protocol

from edge_agent.link_rules import Backoff
from edge_agent.output.signals import Display, Signals, Told

Say = Callable[[str, str], None]
"""(text, severity): an event for the agent."""
_WAITING = 1000
_HURRY_S = 0.1


class PeerError(Exception):
    """The other side of an output cannot be reached, refuses, or does not answer."""


class Peer(Protocol):
    """The other side. Used by one thread; each call raises PeerError and may be made again."""

    name: str
    """What an event calls it: kind and address."""

    def open(self) -> None:
        """Connects, anew where it was connected before."""

    def close(self) -> None:
        """Lets go; never raises."""


class SignalPeer(Peer, Protocol):
    """An output that holds a state: registers, lines."""

    gap_s: float
    """Shortest time between two verdicts, in seconds; 0 where the next may replace the last at once."""
    heartbeat_s: float
    """Period of the heartbeat in seconds; 0 for none."""

    def held(self) -> tuple[int, int]:
        """Count and heartbeat that the other side holds, after `open`."""

    def show(self, signals: Signals) -> None:
        """Makes the other side hold this."""


class MessagePeer(Peer, Protocol):
    """An output that is told of each part by a message of its own."""

    def tell(self, told: Told) -> None:
        """Returns when the other side has it."""

    def ready(self, ready: bool) -> None:
        """Whether the agent judges."""


class Runner(ABC):
    """The thread; `tell` and `set_ready` may be called from any other and never wait."""

    def __init__(self, peer: Peer, say: Say) -> None:
        self.peer, self._say = peer, say
        self.failures = 0
        """Calls of the peer that failed."""
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._backoff = Backoff(0.05, 2.0)
        self._lost = self._said = False
        self._thread = threading.Thread(target=self._run, name=peer.name, daemon=True)

    def start(self) -> None:
        """Connects, and goes on until `close`."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Ends once all is told, or after `timeout_s` seconds."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(timeout_s)

    @property
    def lost(self) -> bool:
        """Whether the peer is away at present."""
        return self._lost

    @property
    @abstractmethod
    def dropped(self) -> int:
        """Parts that could not be told any more."""

    @abstractmethod
    def tell(self, told: Told) -> None:
        """One part."""

    @abstractmethod
    def set_ready(self, ready: bool) -> None:
        """Whether the agent judges."""

    @abstractmethod
    def _connected(self) -> None:
        """After each `open`. Raises PeerError."""

    @abstractmethod
    def _turn(self) -> bool:
        """Shows or tells what is due, or waits for it; False once all is done and it closes."""

    def _run(self) -> None:
        while not self._attend():
            if self._closing.is_set():
                # The agent is gone: what is safe must arrive soon.
                time.sleep(_HURRY_S)
            else:
                self._closing.wait(self._backoff.next())
        self.peer.close()

    def _attend(self) -> bool:
        """One connection, from its opening to its end; True where nothing is left to do."""
        try:
            self.peer.open()
            self._connected()
            while self._turn():
                pass
        except PeerError as error:
            self._missed(error)
            return False
        return True

    def _missed(self, error: PeerError) -> None:
        self.failures += 1
        self._lost = True
        if not self._said:
            self._said = True
            self._say(f"output {self.peer.name} is lost: {error}", "error")
        self.peer.close()

    def _worked(self) -> None:
        self._backoff.reset()
        self._lost = False
        if self._said:
            self._said = False
            self._say(f"output {self.peer.name} is back", "info")


class SignalRunner(Runner):
    """Shows what `Display` says."""

    def __init__(self, peer: SignalPeer, hold_s: float, say: Say) -> None:
        super().__init__(peer, say)
        self._signals = peer
        self._display = Display(hold_s=hold_s, gap_s=peer.gap_s, heartbeat_s=peer.heartbeat_s)

    @property
    def dropped(self) -> int:
        return self._display.dropped

    def tell(self, told: Told) -> None:
        with self._changed:
            self._display.tell(told)
            self._changed.notify()

    def set_ready(self, ready: bool) -> None:
        with self._changed:
            self._display.set_ready(ready)
            self._changed.notify()

    def _connected(self) -> None:
        held = self._signals.held()
        with self._changed:
            if not self._lost:
                self._display.resume(*held)
            signals = self._display.again(time.monotonic())
        self._show(signals)
        self._worked()

    def _turn(self) -> bool:
        with self._changed:
            now = time.monotonic()
            signals = self._display.next(now)
            if signals is None:
                if self._closing.is_set() and self._display.idle:
                    return False
                self._changed.wait(max(self._display.wake_s(now) - now, 0.0))
        if signals is not None:
            self._show(signals)
        return True

    def _show(self, signals: Signals) -> None:
        self._signals.show(signals)
        with self._changed:
            self._display.delivered()


class MessageRunner(Runner):
    """Tells each part in its order, again until the other side has it; the queue is bounded."""

    def __init__(self, peer: MessagePeer, say: Say) -> None:
        super().__init__(peer, say)
        self._messages = peer
        self._waiting: deque[Told | bool] = deque()
        self._ready = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        return self._dropped

    def tell(self, told: Told) -> None:
        self._put(told)

    def set_ready(self, ready: bool) -> None:
        self._put(ready)

    def _put(self, item: Told | bool) -> None:
        with self._changed:
            self._waiting.append(item)
            if len(self._waiting) > _WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._changed.notify()

    def _connected(self) -> None:
        self._messages.ready(self._ready)

    def _turn(self) -> bool:
        with self._changed:
            if not self._waiting:
                if self._closing.is_set():
                    return False
                self._changed.wait(1.0)
                return True
            item = self._waiting[0]
        if isinstance(item, bool):
            self._ready = item
            self._messages.ready(item)
        else:
            self._messages.tell(item)
            self._worked()
        with self._changed:
            # What waited longest may have been dropped meanwhile.
            if self._waiting and self._waiting[0] is item:
                self._waiting.popleft()
        return True
