"""What an assignment asks of a device in its present state. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from edge_agent.update.machine import BEFORE_EXCHANGE, BESIDE, TERMINAL
from fleet_contract.names import UpdateState


class Step(StrEnum):
    """The next thing to do about an assignment."""

    NOTHING = "nothing"
    BEGIN = "begin"
    SETTLE = "settle"
    SUPERSEDE = "supersede"
    ALLOT = "allot"
    """The candidate is to judge a share of the parts, or another one."""
    PROMOTE = "promote"
    RELABEL = "relabel"
    REVERT = "revert"


class Place(StrEnum):
    """Which parts a bundle is to judge."""

    SHADOW = "shadow"
    """None: it is only compared."""
    SHARE = "share"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Order:
    """An assignment, reduced to what the plan needs. Rollouts differ only in their name."""

    digest: str
    attempt: int
    slot: str
    rollout: str
    share: float | None = None
    """Of the parts; None: all, or in shadow none."""

    @property
    def place(self) -> Place:
        """Which parts the bundle is to judge."""
        if self.slot == "shadow":
            return Place.SHADOW
        return Place.WHOLE if self.share is None else Place.SHARE


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
    relabelled = same and order != update and order.place is Place.WHOLE
    return Step.RELABEL if relabelled else Step.NOTHING


def _same_before_exchange(order: Order, view: View, update: Order) -> Step:
    if order == update:
        return Step.NOTHING
    if view.state is UpdateState.ACTIVATING:
        # A bundle that is about to judge all parts does not go back to fewer by itself.
        return Step.RELABEL if order.place is Place.WHOLE else Step.SUPERSEDE
    if view.state not in BESIDE:
        # It has not yet come to where the places part.
        return Step.RELABEL
    if order.place is Place.WHOLE:
        return Step.PROMOTE
    if order.place is Place.SHARE:
        same_share = view.state is UpdateState.CANARY and order.share == update.share
        return Step.RELABEL if same_share else Step.ALLOT
    return Step.RELABEL if view.state is UpdateState.SHADOW else Step.SUPERSEDE
