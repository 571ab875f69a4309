"""Waiting for a fact, with a deadline and a name for what did not come."""

import time
from collections.abc import Callable


def eventually(predicate: Callable[[], object], timeout_s: float, what: str) -> None:
    """Returns once `predicate()` is true; fails with `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)
