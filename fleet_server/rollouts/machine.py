"""The states of a rollout, as a table. A terminal state never changes."""

from enum import StrEnum

from fleet_contract.errors import StateError


class RolloutState(StrEnum):
    """Where a rollout is."""

    DRAFT = "draft"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"


class RolloutEvent(StrEnum):
    """What happens to it."""

    WAIT = "wait"
    """Ordered while its release still lacks approvals."""
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    COMPLETE = "complete"
    ABORT = "abort"
    ROLL_BACK = "roll_back"


_S, _E = RolloutState, RolloutEvent
TABLE: dict[tuple[RolloutState, RolloutEvent], RolloutState] = {
    (_S.DRAFT,             _E.WAIT):      _S.AWAITING_APPROVAL,
    (_S.DRAFT,             _E.START):     _S.RUNNING,
    (_S.DRAFT,             _E.ABORT):     _S.ABORTED,
    (_S.AWAITING_APPROVAL, _E.START):     _S.RUNNING,
    (_S.AWAITING_APPROVAL, _E.ABORT):     _S.ABORTED,
    (_S.RUNNING,           _E.PAUSE):     _S.PAUSED,
    (_S.RUNNING,           _E.COMPLETE):  _S.COMPLETED,
    (_S.RUNNING,           _E.ABORT):     _S.ABORTED,
    (_S.RUNNING,           _E.ROLL_BACK): _S.ROLLED_BACK,
    (_S.PAUSED,            _E.RESUME):    _S.RUNNING,
    (_S.PAUSED,            _E.ABORT):     _S.ABORTED,
}  # fmt: skip

TERMINAL = frozenset({_S.COMPLETED, _S.ABORTED, _S.ROLLED_BACK})
LIVE = frozenset({_S.RUNNING, _S.PAUSED})
"""States in which the rollout decides what its devices are assigned."""


def step(state: str, event: RolloutEvent) -> RolloutState:
    """The next state. Raises StateError where the event is not allowed in `state`."""
    after = TABLE.get((RolloutState(state), event))
    if after is None:
        allowed = [str(e) for (s, e) in TABLE if s == state]
        raise StateError(
            f"a rollout that is {state} cannot {event}",
            expected=" or ".join(allowed) or "nothing: the state is final",
        )
    return after
