"""The update's states: one table of (state, event) -> state. Pure."""

from enum import StrEnum

from fleet_contract.errors import StateError
from fleet_contract.names import UpdateState as S


class Event(StrEnum):
    """What happens to an update."""

    ASSIGNED = "assigned"
    SETTLED = "settled"
    FETCHED = "fetched"
    UNPACKED = "unpacked"
    TRIED = "tried"
    SHADOWED = "shadowed"
    ALLOTTED = "allotted"
    """A share of the parts is the candidate's to judge."""
    PASSED = "passed"
    PROMOTED = "promoted"
    EXCHANGED = "exchanged"
    RETURNED = "returned"
    INTERRUPTED = "interrupted"
    HELD = "held"
    REVERTED = "reverted"
    FAILED = "failed"
    SUPERSEDED = "superseded"


E = Event

TERMINAL = frozenset({S.IDLE, S.COMMITTED, S.ROLLED_BACK, S.FAILED, S.SUPERSEDED})
"""Nothing is under way."""
BESIDE = frozenset({S.SHADOW, S.CANARY})
"""A candidate is loaded beside the active bundle."""
BEFORE_EXCHANGE = BESIDE | {S.FETCHING, S.VERIFIED, S.STAGED, S.SELF_TEST, S.ACTIVATING}
"""The active bundle is still the one from before: the update may simply stop."""
EXCHANGING = frozenset({S.ACTIVATING, S.PROBATION})
"""A death in one of them and a death in the other are two with the same bundle."""

TABLE: dict[tuple[S, Event], S] = {
    **{(state, E.ASSIGNED): S.FETCHING for state in TERMINAL},
    **{(state, E.SETTLED): S.COMMITTED for state in TERMINAL},  # what is assigned runs already
    (S.FETCHING,   E.FETCHED):   S.VERIFIED,
    (S.VERIFIED,   E.UNPACKED):  S.STAGED,
    (S.STAGED,     E.TRIED):     S.SELF_TEST,
    (S.SELF_TEST,  E.SHADOWED):  S.SHADOW,
    (S.SELF_TEST,  E.ALLOTTED):  S.CANARY,
    (S.SELF_TEST,  E.PASSED):    S.ACTIVATING,
    (S.SHADOW,     E.ALLOTTED):  S.CANARY,
    (S.SHADOW,     E.PROMOTED):  S.ACTIVATING,
    (S.CANARY,     E.PROMOTED):  S.ACTIVATING,
    (S.CANARY,     E.REVERTED):  S.ROLLED_BACK,  # its share goes back to the active bundle
    (S.ACTIVATING, E.EXCHANGED): S.PROBATION,
    (S.ACTIVATING, E.RETURNED):  S.COMMITTED,    # it was committed here before
    (S.PROBATION,  E.INTERRUPTED): S.ACTIVATING, # the agent died: the one before judges meanwhile
    (S.PROBATION,  E.HELD):      S.COMMITTED,
    (S.PROBATION,  E.REVERTED):  S.ROLLED_BACK,
    (S.COMMITTED,  E.REVERTED):  S.ROLLED_BACK,  # an operator's order
    **{(state, E.FAILED): S.FAILED for state in BEFORE_EXCHANGE},
    **{(state, E.SUPERSEDED): S.SUPERSEDED for state in BEFORE_EXCHANGE},
}  # fmt: skip


def next_state(state: S, event: Event) -> S:
    """Raises StateError where the table has no such step."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise StateError(f"an update in state {state} cannot be {event}") from None
