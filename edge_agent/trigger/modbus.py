"""A coil of the PLC as the trigger, over Modbus/TCP: the agent reads it, and clears it.

The agent is the client, as with its outputs: the PLC keeps one table of registers and coils for the
station, and no port is opened on the device. The PLC sets the coil for a part and may set it again
once the agent has cleared it; so no part is passed over, however slow the poll, and the PLC knows by
the coil whether the station follows. What a server of our own would save, up to one poll of jitter,
is little beside the way from a PLC's scan to its Ethernet. A line that needs less takes GPIO or the
camera's own input.

A coil that is set already when the agent connects tells of a part that has passed: it ends without
a picture.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from edge_agent.section import PlantCoil
from edge_agent.trigger.base import Signal
from edge_agent.trigger.settings import ModbusTrigger
from edge_agent.trigger.watched import SideLost
from fleet_contract.clock import Clock

# It dumps its traffic at each failure; what a person needs stands in the events.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)


T = TypeVar("T")


def recipe_name(number: int, names: dict[str, str]) -> str:
    """The recipe that a register's value means; 0 is the line without a recipe."""
    return names.get(str(number), str(number)) if number else ""


Ask = Callable[[int], int]
"""The value of a holding register, by its address from 0. Raises SideLost."""
Read = Callable[[Ask, float, bool], Sequence[T]]
"""(registers, monotonic seconds, whether it was set before anybody looked): what a set coil says."""


def read_signal(config: ModbusTrigger, ask: Ask, at_s: float, passed: bool) -> list[Signal]:
    """The part that a set coil tells of."""
    register = config.recipe_register
    recipe = recipe_name(ask(register), config.recipes) if register is not None else ""
    return [Signal(at_s, recipe=recipe, passed=passed)]


class ModbusCoil(Generic[T]):
    """One coil, and registers beside it."""

    def __init__(self, config: PlantCoil, clock: Clock, read: Read[T]) -> None:
        self.name = f"modbus {config.host}:{config.port}"
        self._config, self._clock, self._read = config, clock, read
        self._client: Any = ModbusTcpClient(
            config.host, port=config.port, timeout=config.wait, retries=0
        )
        self._fresh = True
        """Nothing was seen of the coil since the connection was made."""
        self._to_clear = False
        """The coil that is set was taken already, and could not be cleared."""

    def open(self) -> None:
        self._client.close()
        self._fresh = True
        if not self._client.connect():
            raise SideLost("no connection; is the PLC on, and its Modbus/TCP server enabled?")

    def look(self) -> Sequence[T]:
        time.sleep(0.0 if self._fresh else self._config.poll)
        coil = bool(self._asked("read_coils", self._config.coil, count=1).bits[0])
        at_s, passed, self._fresh = self._clock.monotonic(), self._fresh, False
        if not coil:
            self._to_clear = False
            return []
        if self._to_clear:
            self.taken()
            return []
        seen = self._read(self._register, at_s, passed)
        if not seen:
            self.taken()
        return seen

    def taken(self) -> None:
        self._to_clear = True
        self._asked("write_coil", self._config.coil, value=False)
        self._to_clear = False

    def close(self) -> None:
        self._client.close()

    def _register(self, address: int) -> int:
        return int(self._asked("read_holding_registers", address, count=1).registers[0])

    def _asked(self, function: str, address: int, **words: object) -> ModbusPDU:
        try:
            answer: ModbusPDU = getattr(self._client, function)(
                address, **words, device_id=self._config.unit
            )
        except (ModbusException, OSError) as error:
            raise SideLost(str(error)) from error
        if answer.isError():
            raise SideLost(f"the PLC refuses {function} at {address}: {answer}; is it there?")
        return answer
