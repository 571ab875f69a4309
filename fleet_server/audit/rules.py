"""The chain: each entry's hash covers its content and the hash before it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

START = "0" * 64
"""Stands before the first entry."""


@dataclass(frozen=True, slots=True)
class Link:
    """What the hash of one entry is taken over."""

    at: float
    actor: str
    action: str
    subject: str
    data: dict[str, Any]
    previous_hash: str

    def hash(self) -> str:
        """SHA-256 over the entry as JSON with sorted keys, lower-case hex."""
        content = [
            self.previous_hash, self.at, self.actor, self.action, self.subject, self.data,
        ]  # fmt: skip
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def first_break(chain: Iterable[tuple[Link, str]]) -> int | None:
    """Position of the first entry that does not fit its stored hash or the one before; None: whole."""
    previous = START
    for position, (link, stored) in enumerate(chain):
        if link.previous_hash != previous or link.hash() != stored:
            return position
        previous = stored
    return None
