"""Ctrl-C and SIGTERM as a flag that the story looks at, never as an exception out of nowhere.

An exception that a signal's handler raises can land where Python swallows it (in the hooks of a fork, in a
destructor), and then the story would simply go on.
"""

import signal
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_told = False


def listen() -> None:
    """From now on the signals only set the flag."""
    for number in _NUMBERS:
        signal.signal(number, _tell)


def _tell(_number: int, _frame: FrameType | None) -> None:
    global _told
    _told = True


def check() -> None:
    """Raises KeyboardInterrupt once one of the signals has come."""
    if _told:
        raise KeyboardInterrupt
