"""Rules of the link, apart from the network: backoff, what is in flight, who else uses the identity."""

import random
from collections import deque
from dataclasses import dataclass


class Backoff:
    """Doubling waits with jitter, so that a fleet does not come back in one instant."""

    def __init__(self, first_s: float, most_s: float, seed: int | None = None) -> None:
        self._first, self._most = first_s, most_s
        self._random = random.Random(seed)
        self._tries = 0

    def next(self) -> float:
        """How long to wait now, in seconds."""
        base: float = min(self._first * 2 ** min(self._tries, 16), self._most)
        self._tries += 1
        return base * (0.5 + self._random.random() / 2)

    def reset(self) -> None:
        """It worked: begin with the shortest wait again."""
        self._tries = 0


@dataclass(slots=True)
class InFlight:
    """One stream's records between publishing and the server's word (go back n).

    `sent` is the highest number published since the last reset, `acked` the server's word.
    """

    timeout_s: float
    acked: int = 0
    sent: int = 0
    since_s: float = 0.0
    resends: int = 0

    def published(self, through: int, now_s: float) -> None:
        """Records up to `through` were handed to the broker."""
        if self.sent <= self.acked:
            self.since_s = now_s
        self.sent = max(self.sent, through)

    def ack(self, contiguous: int, now_s: float) -> None:
        """The server has everything up to `contiguous`."""
        if contiguous > self.acked:
            self.acked, self.since_s = contiguous, now_s
        self.sent = max(self.sent, self.acked)

    def reset(self) -> None:
        """The connection is new: what was on its way may be lost."""
        self.sent = self.acked

    def overdue(self, now_s: float, jitter: float) -> bool:
        """Whether to send again, after the timeout stretched by `jitter` (0 to 1) of itself."""
        if self.sent <= self.acked or now_s - self.since_s < self.timeout_s * (1 + jitter):
            return False
        self.resends += 1
        self.sent = self.acked
        return True


class TakeoverWatch:
    """Tells a broker's outage from another agent with the same identity.

    Two clients of one id put each other out: connections are accepted, and end within seconds,
    again and again.
    """

    SHORT_S, WITHIN_S, TIMES = 5.0, 60.0, 3

    def __init__(self) -> None:
        self._short: deque[float] = deque()

    def ended(self, lasted_s: float, now_s: float) -> bool:
        """A connection ended that had been accepted; True when it looks like a takeover."""
        if lasted_s > self.SHORT_S:
            self._short.clear()
            return False
        self._short.append(now_s)
        while self._short and now_s - self._short[0] > self.WITHIN_S:
            self._short.popleft()
        return len(self._short) >= self.TIMES
