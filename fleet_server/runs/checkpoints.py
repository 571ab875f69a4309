"""Checkpoints of runs: blobs in a room of their own, because they are replaced and forgotten."""

from sqlmodel import Session, col, select

from fleet_server.runs.models import TrainingRun
from fleet_server.store import Store


def room(store: Store) -> Store:
    """Where checkpoints lie, inside the server's store of blobs."""
    return Store(store.folder / "checkpoints")


class Sweeper:
    """Removes checkpoints that no run names any more.

    One that is being stored is in the room before its run names it; so only what was unnamed
    the last time too is removed.
    """

    def __init__(self, store: Store) -> None:
        self._room, self._suspects = room(store), set[str]()

    def sweep(self, session: Session) -> int:
        """How many were removed. To be called every minute or so."""
        there = set(self._room.digests())
        named = set(session.exec(select(TrainingRun.checkpoint).where(_HAS_ONE)))
        unnamed = there - named
        removed = unnamed & self._suspects
        for digest in removed:
            self._room.discard(digest)
        self._suspects = unnamed - removed
        return len(removed)


_HAS_ONE = col(TrainingRun.checkpoint).is_not(None)
