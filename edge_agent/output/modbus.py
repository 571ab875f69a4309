"""Modbus/TCP: the agent as client writes a block of holding registers of the PLC (FC 16), and coils (FC 15).

The whole block is one request, so that a PLC whose server applies a request between two scans never
sees half of it. Coils, where they are wanted, are written after the registers.
"""

import logging
from typing import Any

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from edge_agent.output.runner import PeerError
from edge_agent.output.signals import ACCEPT, NO_DECISION, REJECT, Signals

REGISTERS = ("heartbeat", "ready", "verdict", "reason", "part_high", "part_low", "count")
"""What stands in each holding register from `registers` on."""
COILS = ("ready", "accept", "reject", "strobe")
"""What stands in each coil from `coils` on; the strobe changes with each part."""
VERDICTS = {NO_DECISION: 0, ACCEPT: 1, REJECT: 2}
REASONS = {
    "": 0, "deadline": 1, "agent_gone": 2, "output_late": 3, "model_not_ready": 4, "camera_gap": 5,
    "frame_unreadable": 6, "frame_schema": 7, "runtime": 8, "unknown_recipe": 9,
    "frame_incomplete": 10, "overrun": 11, "view_missing": 12, "camera_settings": 13,
}  # fmt: skip
OTHER_REASON = 99

# It dumps its traffic at each failure; what a person needs stands in the events.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)


def registers(signals: Signals) -> list[int]:
    """The block's words, each 0 to 65535."""
    part = signals.part % 2**32
    reason = REASONS.get(signals.reason, OTHER_REASON)
    return [
        signals.heartbeat, int(signals.ready), VERDICTS[signals.verdict], reason,
        part >> 16, part & 0xFFFF, signals.count,
    ]  # fmt: skip


def coils(signals: Signals) -> list[bool]:
    """The coils' states."""
    verdict = signals.verdict
    return [signals.ready, verdict == ACCEPT, verdict == REJECT, bool(signals.count % 2)]


class ModbusPeer:
    """A Modbus/TCP server: the PLC."""

    gap_s = 0.0

    def __init__(
        self, *, host: str, port: int, unit: int, registers: int, coils: int | None,
        heartbeat: float, timeout: float,
    ) -> None:  # fmt: skip
        self.name = f"modbus {host}:{port}"
        self.heartbeat_s = heartbeat
        self._unit, self._registers, self._coils = unit, registers, coils
        # One try each: what is late is no decision, so that asking again helps nobody.
        self._client: Any = ModbusTcpClient(host, port=port, timeout=timeout, retries=0)

    def open(self) -> None:
        self._client.close()
        if not self._client.connect():
            raise PeerError("no connection; is the PLC on, and its Modbus/TCP server enabled?")

    def held(self) -> tuple[int, int]:
        try:
            answer = self._client.read_holding_registers(
                self._registers, count=len(REGISTERS), device_id=self._unit
            )
        except (ModbusException, OSError) as error:
            raise PeerError(str(error)) from error
        words = self._checked(answer).registers
        return words[REGISTERS.index("count")], words[REGISTERS.index("heartbeat")]

    def show(self, signals: Signals) -> None:
        try:
            self._checked(
                self._client.write_registers(
                    self._registers, registers(signals), device_id=self._unit
                )
            )
            if self._coils is not None:
                self._checked(
                    self._client.write_coils(self._coils, coils(signals), device_id=self._unit)
                )
        except (ModbusException, OSError) as error:
            raise PeerError(str(error)) from error

    def close(self) -> None:
        self._client.close()

    def _checked(self, answer: ModbusPDU) -> ModbusPDU:
        if answer.isError():
            raise PeerError(
                f"the PLC refuses: {answer}; is the block of {len(REGISTERS)} registers from"
                f" {self._registers} there, and writable?"
            )
        return answer
