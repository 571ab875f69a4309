"""What an assignment asks of a device in its present state. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from edge_agent.update.machine import BEFORE_EXCHANGE, TERMINAL
from fleet_contract.names import UpdateState


class Step(StrEnum):
    """The next thing to do about an assignment."""

    NOTHING = "nothing"
    BEGIN = "begin"
    SETTLE = "settle"
    SUPERSEDE = "supersede"
    PROMOTE = "promote"
    RELABEL = "relabel"
    REVERT = "revert"


@dataclass(frozen=True, slots=True)
class Order:
    """An assignment, reduced to what the plan needs. Rollouts differ only in their name."""

    digest: str
    attempt: int
    slot: str
    rollout: str


@dataclass(frozen=True, slots=True)
class View:
    """The line on this device."""

    active: str | None
    previous: str | None
    state: UpdateState
    update: Order | None
    tried: bool
    """Whether the assigned (digest, attempt) failed or was rolled back here."""


def plan(order: Order, view: View) -> Step:
    """The next step; called again after each, until it is NOTHING."""
    if view.update is not None and view.state not in TERMINAL:
        return _under_way(order, view, view.update)
    if view.tried:
        return Step.NOTHING
    if order.digest == view.active:
        done = view.update == order and view.state is UpdateState.COMMITTED
        return Step.NOTHING if done else Step.SETTLE
    return Step.BEGIN


def _under_way(order: Order, view: View, update: Order) -> Step:
    same = (order.digest, order.attempt) == (update.digest, update.attempt)
    if view.state in BEFORE_EXCHANGE:
        return _same_before_exchange(order, view, update) if same else Step.SUPERSEDE
    # On probation: it ends by itself after so many parts, but the way back is always open.
    if not same and order.digest == view.previous:
        return Step.REVERT
    return Step.RELABEL if same and order != update and order.slot != "shadow" else Step.NOTHING


def _same_before_exchange(order: Order, view: View, update: Order) -> Step:
    if order == update:
        return Step.NOTHING
    if update.slot == "shadow" and order.slot != "shadow" and view.state is UpdateState.SHADOW:
        return Step.PROMOTE
    if (update.slot == "shadow") == (order.slot == "shadow"):
        return Step.RELABEL
    if order.slot == "shadow" and view.state is UpdateState.ACTIVATING:
        return Step.SUPERSEDE
    # It has not yet come to where shadow and active part.
    return Step.RELABEL
