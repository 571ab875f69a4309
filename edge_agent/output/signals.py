"""The rules of the line's signals: what stands for a verdict, and when nothing stands any more. Pure.

`Rules` decides what is told of each part; `Display` decides what an output shows at which instant.
Times are CLOCK_MONOTONIC seconds, which all processes of a machine share.
"""

from collections import deque
from dataclasses import dataclass, replace

ACCEPT, REJECT, NO_DECISION = "accept", "reject", "no_decision"
DEADLINE, GONE, LATE = "deadline", "agent_gone", "output_late"
"""Reasons that the guard gives by itself."""
_REMEMBERED = 1024
_WAITING = 64
_COUNT = 2**16


@dataclass(frozen=True, slots=True)
class Told:
    """What the line is told of one part, once."""

    part: int
    verdict: str
    reason: str
    due_s: float
    """An accept or reject that reaches the line after this is none."""


class Rules:
    """Each part that was announced is told once; without the agent, or in time, as no decision."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._due: dict[int, float] = {}
        self._overdue: deque[int] = deque(maxlen=_REMEMBERED)
        self._heard_s = -1e9
        self._ready = False
        self.overruled = 0
        """Verdicts that came after the line had been told that there was no decision."""

    def beat(self, ready: bool, now_s: float) -> None:
        """The agent lives, and says whether parts are judged at present."""
        self._ready, self._heard_s = ready, now_s

    def ready(self, now_s: float) -> bool:
        """Whether the line may expect verdicts."""
        return self._ready and now_s - self._heard_s < self._silence_s

    def expect(self, part: int, due_s: float) -> None:
        """A part is being judged; its verdict is wanted by `due_s`."""
        self._due[part] = due_s

    def verdict(self, part: int, verdict: str, reason: str, now_s: float) -> Told | None:
        """What to tell of it; None where the line was already told that there is no decision."""
        due_s = self._due.pop(part, now_s + self._silence_s)
        if part in self._overdue:
            self.overruled += verdict != NO_DECISION
            return None
        if now_s > due_s and verdict != NO_DECISION:
            self.overruled += 1
            return Told(part, NO_DECISION, DEADLINE, due_s)
        return Told(part, verdict, reason, due_s)

    def overdue(self, now_s: float) -> list[Told]:
        """Parts whose time is over, in their order."""
        return self._give_up([n for n, due_s in self._due.items() if due_s <= now_s], DEADLINE)

    def gone(self) -> list[Told]:
        """The agent is dead: every part that it was at."""
        self._ready = False
        return self._give_up(list(self._due), GONE)

    def _give_up(self, parts: list[int], reason: str) -> list[Told]:
        self._overdue.extend(parts)
        return [Told(part, NO_DECISION, reason, self._due.pop(part)) for part in parts]

    def next_s(self, now_s: float) -> float:
        """When to look again, at the latest."""
        silent_s = self._heard_s + self._silence_s
        wanted = [silent_s] if self._ready and silent_s > now_s else []
        return min([*self._due.values(), *wanted, now_s + 1.0])


@dataclass(frozen=True, slots=True)
class Signals:
    """What an output shows: `verdict` is no_decision whenever no verdict stands."""

    ready: bool = False
    verdict: str = NO_DECISION
    reason: str = ""
    part: int = 0
    count: int = 0
    """Grows by one with each part that is told, from 65535 to 0."""
    heartbeat: int = 0
    """Grows by one with each period, from 65535 to 0."""


class Display:
    """What one output shows over time: each verdict for `hold_s`, then nothing for `gap_s`.

    With a gap each verdict stands for its whole time before the next; without one, the next takes
    its place at once. Used by one thread.
    """

    def __init__(self, *, hold_s: float, gap_s: float, heartbeat_s: float) -> None:
        self._hold_s, self._gap_s, self._heartbeat_s = hold_s, gap_s, heartbeat_s
        self._waiting: deque[Told] = deque()
        self._shown = Signals()
        self._ready = False
        self._clear_s = self._free_s = self._beat_s = self._due_s = -1e9
        self._delivered = False
        self.dropped = 0
        """Parts that the output was too slow to tell."""

    def resume(self, count: int, heartbeat: int) -> None:
        """Goes on from what the other side holds, so that it sees no part where there was none."""
        self._shown = replace(self._shown, count=count % _COUNT, heartbeat=heartbeat % _COUNT)

    def tell(self, told: Told) -> None:
        """One part more to show; a wide backlog loses its oldest."""
        self._waiting.append(told)
        if len(self._waiting) > _WAITING:
            self._waiting.popleft()
            self.dropped += 1

    def set_ready(self, ready: bool) -> None:
        """Whether the agent judges; where it does not, no verdict stands and none follows."""
        self._ready = ready
        if not ready:
            self._clear_s = -1e9
            self._waiting = deque(
                told if told.verdict == NO_DECISION else replace(told, verdict=NO_DECISION, reason=GONE)
                for told in self._waiting
            )  # fmt: skip

    def next(self, now_s: float) -> Signals | None:
        """What to show from now on; None where nothing changes."""
        after = replace(self._shown, ready=self._ready)
        if now_s >= self._clear_s:
            after = replace(after, verdict=NO_DECISION)
        if self._waiting and now_s >= self._free_s:
            after = self._take(after, now_s)
        if self._heartbeat_s and now_s - self._beat_s >= self._heartbeat_s:
            self._beat_s = now_s
            after = replace(after, heartbeat=(after.heartbeat + 1) % _COUNT)
        if after == self._shown:
            return None
        self._shown = after
        return after

    def _take(self, before: Signals, now_s: float) -> Signals:
        told = self._waiting.popleft()
        late = told.verdict != NO_DECISION and now_s > told.due_s
        self._clear_s = now_s + self._hold_s
        self._free_s = self._clear_s + self._gap_s if self._gap_s else now_s
        self._due_s = told.due_s
        self._delivered = False
        return replace(
            before,
            verdict=NO_DECISION if late else told.verdict,
            reason=LATE if late else told.reason,
            part=told.part,
            count=(before.count + 1) % _COUNT,
        )

    def delivered(self) -> None:
        """The other side holds what was shown last."""
        self._delivered = True

    def again(self, now_s: float) -> Signals:
        """What to show after a failure: a verdict that is past its time by now is none.

        Nor is one that was held before: a PLC that was off would take it for another part's.
        """
        stale = self._delivered or now_s >= self._clear_s or now_s > self._due_s
        if stale and self._shown.verdict != NO_DECISION:
            self._shown = replace(self._shown, verdict=NO_DECISION, reason=LATE)
        self._shown = replace(self._shown, ready=self._ready)
        return self._shown

    def wake_s(self, now_s: float) -> float:
        """When `next` may have something, in monotonic seconds."""
        times = [now_s + 1.0]
        if self._heartbeat_s:
            times.append(self._beat_s + self._heartbeat_s)
        if self._shown.verdict != NO_DECISION:
            times.append(self._clear_s)
        if self._waiting:
            times.append(self._free_s)
        return min(times)

    @property
    def idle(self) -> bool:
        """Whether everything was told and nothing stands."""
        settled = self._shown.verdict == NO_DECISION and self._shown.ready == self._ready
        return not self._waiting and settled
