"""A line of a GPIO chip as the trigger (Linux character device): each edge is a part.

The kernel stamps and numbers edges: a part's time is that of its edge however busy the agent is, and
edges that the kernel's buffer lost are parts without a picture.
"""

from collections.abc import Sequence
from datetime import timedelta

import gpiod
from gpiod.line import Bias, Direction, Edge

from edge_agent.trigger.base import Signal
from edge_agent.trigger.settings import GpioTrigger as GpioConfig
from edge_agent.trigger.watched import SideLost

_LOOK_S = 0.2
_BUFFERED_EDGES = 1024
_EDGES = {"rising": Edge.RISING, "falling": Edge.FALLING}
_PULLS = {"none": Bias.AS_IS, "up": Bias.PULL_UP, "down": Bias.PULL_DOWN}


def signals(edges: Sequence[tuple[int, int]], last: int) -> list[Signal]:
    """A signal for each edge (its number on the line from 1, and nanoseconds of CLOCK_MONOTONIC).

    `last` is the number of the edge before; numbers between are edges that were lost.
    """
    found = []
    for number, at_ns in edges:
        found += [Signal(at_ns / 1e9, passed=True)] * (number - last - 1)
        found.append(Signal(at_ns / 1e9))
        last = number
    return found


class GpioLine:
    """One line, requested as an input."""

    def __init__(self, config: GpioConfig) -> None:
        self.name = f"gpio {config.chip} line {config.line}"
        self._config = config
        self._request: gpiod.LineRequest | None = None
        self._last = 0

    def open(self) -> None:
        self.close()
        settings = gpiod.LineSettings(
            direction=Direction.INPUT,
            edge_detection=_EDGES[self._config.edge],
            bias=_PULLS[self._config.pull],
            debounce_period=timedelta(seconds=self._config.debounce),
        )
        try:
            self._request = gpiod.request_lines(
                self._config.chip, {self._config.line: settings}, consumer="loupe-agent",
                event_buffer_size=_BUFFERED_EDGES,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise SideLost(f"{error}; may the agent's user open the chip?") from error
        # The kernel numbers a line's edges from its request on.
        self._last = 0

    def look(self) -> list[Signal]:
        assert self._request is not None
        try:
            if not self._request.wait_edge_events(_LOOK_S):
                return []
            events = self._request.read_edge_events()
        except OSError as error:
            raise SideLost(str(error)) from error
        edges = [(event.line_seqno, event.timestamp_ns) for event in events]
        found = signals(edges, self._last)
        self._last = edges[-1][0]
        return found

    def taken(self) -> None:
        """An edge asks for no answer."""

    def close(self) -> None:
        if self._request is not None:
            self._request.release()
            self._request = None
