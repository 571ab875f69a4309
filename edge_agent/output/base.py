"""The interface of what acts on verdicts at the line, and several as one.

Anything but an explicit accept is handled as no_decision by what stands behind it: an output that
hears nothing must hold the part back.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from fleet_contract.messages import PartVerdict


class Output(Protocol):
    """Used by the inspection's thread. Must not block; a failure is an OSError and is counted there."""

    def expect(self, part: int, due_s: float) -> None:
        """A part is being judged; its verdict is wanted by monotonic `due_s`."""

    def act(self, verdict: PartVerdict) -> None:
        """As soon as it stands, once or, after a restart, again by its number."""

    def close(self) -> None:
        """Lets go."""


class Outputs:
    """Several as one: each is told, also where another fails. None at all is an output too."""

    def __init__(self, outputs: Sequence[Output] = ()) -> None:
        self._outputs = tuple(outputs)

    def expect(self, part: int, due_s: float) -> None:
        self._each(lambda output: output.expect(part, due_s))

    def act(self, verdict: PartVerdict) -> None:
        self._each(lambda output: output.act(verdict))

    def close(self) -> None:
        self._each(lambda output: output.close())

    def _each(self, call: Callable[[Output], None]) -> None:
        failed: OSError | None = None
        for output in self._outputs:
            try:
                call(output)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed
