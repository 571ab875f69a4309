"""GPIO lines (Linux character device): ready, accept and reject, each verdict a pulse.

Requested as outputs that are inactive. When the process ends the kernel lets go of them: a pull-down
holds them inactive then, which is "no decision".
"""

import gpiod
from gpiod.line import Direction, Value

from edge_agent.output.runner import PeerError
from edge_agent.output.signals import ACCEPT, REJECT, Signals

_SHORTEST_GAP_S = 0.005


def levels(signals: Signals) -> dict[str, bool]:
    """Which of the lines are active."""
    return {
        "ready": signals.ready,
        "accept": signals.verdict == ACCEPT,
        "reject": signals.verdict == REJECT,
    }


class GpioPeer:
    """Lines of one chip."""

    heartbeat_s = 0.0

    def __init__(
        self, *, chip: str, ready: int | None, accept: int, reject: int, active_low: bool,
        gap: float,
    ) -> None:  # fmt: skip
        self.name = f"gpio {chip}"
        self.gap_s = max(gap, _SHORTEST_GAP_S)
        self._chip, self._active_low = chip, active_low
        lines = {"ready": ready, "accept": accept, "reject": reject}
        self._lines = {name: line for name, line in lines.items() if line is not None}
        self._request: gpiod.LineRequest | None = None

    def open(self) -> None:
        self.close()
        settings = gpiod.LineSettings(
            direction=Direction.OUTPUT, active_low=self._active_low, output_value=Value.INACTIVE
        )
        try:
            self._request = gpiod.request_lines(
                self._chip, {tuple(self._lines.values()): settings}, consumer="loupe-agent"
            )
        except (OSError, ValueError) as error:
            raise PeerError(f"{error}; may the agent's user open the chip?") from error

    def held(self) -> tuple[int, int]:
        return 0, 0

    def show(self, signals: Signals) -> None:
        active = levels(signals)
        values: dict[int | str, Value] = {
            line: Value.ACTIVE if active[name] else Value.INACTIVE
            for name, line in self._lines.items()
        }
        if self._request is None:
            raise PeerError("the lines are not requested")
        try:
            self._request.set_values(values)
        except OSError as error:
            raise PeerError(str(error)) from error

    def close(self) -> None:
        if self._request is not None:
            self._request.release()
            self._request = None
