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


@dataclass(frozen=True, slots=True)
class Budget:
    """How many of a stream's records may be on their way."""

    backlog: int
    """Sent in order since the server's last word on them."""
    live: int
    """Sent ahead of a backlog since the server's last word; as many may wait before they are a
    backlog. 0: never ahead."""


@dataclass(slots=True)
class InFlight:
    """One stream's records between publishing and the server's word, in two lanes.

    In order: `sent` is the highest number published since the last reset, `acked` the server's word;
    without a word for long everything above `acked` is sent again (go back n). Ahead: where more
    waits than may be live, the newest records are sent ahead of that backlog as they come: numbers
    `ahead_from` to `ahead_sent`. The backlog ends below `ahead_from`, and the lanes are one again.
    The server's word covers what is contiguous, so that a record that went ahead and was lost is
    found missing, and sent again, when the backlog has come up to it.
    """

    budget: Budget
    timeout_s: float
    acked: int = 0
    sent: int = 0
    since_s: float = 0.0
    resends: int = 0
    ahead_from: int = 0
    """0: no backlog."""
    ahead_sent: int = 0
    _unheard: int = 0

    @property
    def behind(self) -> bool:
        """Whether there is a backlog, with newer records going ahead of it."""
        return self.ahead_from > 0

    @property
    def room(self) -> int:
        """How many more may be sent in order."""
        return self.budget.backlog - (self.sent - self.acked)

    @property
    def room_ahead(self) -> int:
        """How many more may be sent ahead."""
        return self.budget.live - self._unheard

    def look(self, last: int) -> None:
        """`last` is the stream's newest number; opens the lane ahead where too much waits."""
        if not self.behind and last - self.sent > self.budget.live > 0:
            self.ahead_from, self.ahead_sent = last, last - 1

    def published(self, through: int, now_s: float) -> None:
        """Records up to `through` were handed to the broker, in order."""
        if self.sent <= self.acked:
            self.since_s = now_s
        self.sent = max(self.sent, through)
        self._join()

    def published_ahead(self, through: int, records: int) -> None:
        """So many records up to `through` were handed to the broker ahead of the backlog."""
        self.ahead_sent = max(self.ahead_sent, through)
        self._unheard += records

    def ack(self, contiguous: int, now_s: float) -> bool:
        """The server has everything up to `contiguous`; whether that is more than before."""
        more = contiguous > self.acked
        if more:
            self.acked, self.since_s = contiguous, now_s
        self.sent = max(self.sent, self.acked)
        self._join()
        return more

    def heard(self) -> None:
        """The server stores: it said so, be it of another stream."""
        self._unheard = 0

    def reset(self) -> None:
        """What was on its way may be lost, as when the connection is new."""
        self.sent = self.acked
        self.ahead_from = self.ahead_sent = self._unheard = 0

    def leaving(self, now_s: float) -> None:
        """The broker has not yet got what was published: the server's time begins later."""
        self.since_s = now_s

    def overdue(self, now_s: float, jitter: float) -> bool:
        """Whether to send again, after the timeout stretched by `jitter` (0 to 1) of itself."""
        if self.sent <= self.acked or now_s - self.since_s < self.timeout_s * (1 + jitter):
            return False
        self.resends += 1
        self.reset()
        return True

    def _join(self) -> None:
        if self.behind and self.sent >= self.ahead_from - 1:
            self.sent = max(self.sent, self.ahead_sent)
            self.ahead_from = self.ahead_sent = self._unheard = 0


class RateLimit:
    """A token bucket over published bytes: `rate` bytes a second, a second's worth at once at most.

    A message is never cut: it may overdraw the bucket, and the next one waits until that is paid.
    """

    def __init__(self, rate: int | None, now_s: float) -> None:
        """`rate` None: no limit."""
        self._rate, self._tokens, self._at_s = rate, float(rate or 0), now_s

    def open(self, now_s: float) -> bool:
        """Whether something may be sent at monotonic `now_s`."""
        if self._rate is None:
            return True
        self._tokens = min(float(self._rate), self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        return self._tokens > 0

    def spend(self, size: int) -> None:
        """`size` bytes were sent."""
        self._tokens -= size


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
