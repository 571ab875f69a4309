"""A training's state in a file, so that one that was killed goes on where it was."""

import logging
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

EVERY_S = 15.0
_KEY, _STATE = "key", "state"


@dataclass(slots=True)
class Slot:
    """One file; `key` names configuration, data set and member: only a state of the same is read."""

    path: Path
    key: str
    _written_s: float | None = field(default=None, init=False)

    def due(self, now_s: float) -> bool:
        """Whether it is time to write again; `now_s` is monotonic."""
        if self._written_s is None:
            self._written_s = now_s
        return now_s - self._written_s >= EVERY_S

    def write(self, now_s: float, state: Mapping[str, Any]) -> None:
        """Replaces the file at once: a kill leaves the old state or the new one.

        A full disk costs the state and not the training: it goes on, and the log says so.
        """
        self._written_s = now_s
        partial = self.path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                torch.save({_KEY: self.key, _STATE: dict(state)}, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        except (OSError, RuntimeError) as error:
            log.warning(
                "%s cannot be written, the training goes on without it: %s", self.path, error
            )
            partial.unlink(missing_ok=True)

    def read(self) -> dict[str, Any] | None:
        """The state; None where there is none, or one of another training."""
        if not self.path.is_file():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            log.warning("%s is no checkpoint, training begins anew: %s", self.path, error)
            return None
        if not isinstance(found, dict) or found.get(_KEY) != self.key:
            log.warning("%s is of another training, training begins anew", self.path)
            return None
        return dict(found[_STATE])
