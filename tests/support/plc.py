"""A PLC for tests: a real Modbus/TCP server that remembers every write."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymodbus.client import ModbusTcpClient
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.output.modbus import COILS, REGISTERS
from tests.support.broker import free_port
from tests.support.wait import eventually


class Plc:
    """Stopped and started at will, on one port; registers outlive neither."""

    def __init__(self) -> None:
        self.port = free_port()
        self.blocks: list[dict[str, int]] = []
        """Each write of the block, in its order, by the names of the register map."""
        self.coils: list[dict[str, bool]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def now(self) -> dict[str, int]:
        """What the registers hold, read as a program of the plant would."""
        client: Any = ModbusTcpClient("127.0.0.1", port=self.port, timeout=2)
        assert client.connect()
        words = client.read_holding_registers(0, count=len(REGISTERS)).registers
        client.close()
        return dict(zip(REGISTERS, words, strict=True))

    @property
    def verdicts(self) -> list[tuple[int, int]]:
        """Part number and verdict of each part that was told, in its order."""
        told, count = [], 0
        for block in self.blocks:
            if block["count"] != count:
                count = block["count"]
                told.append((block["part_high"] << 16 | block["part_low"], block["verdict"]))
        return told

    def start(self) -> None:
        """Listens when it returns."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        """Closes all connections; what the registers held is gone."""
        if self._loop is not None and self._server is not None and self._thread is not None:
            asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(10)
            self._thread.join(10)
        self._loop = self._server = self._thread = None

    async def _serve(self, ready: threading.Event) -> None:
        blank = [SimData(0, count=32, values=0, datatype=DataType.REGISTERS)]
        bits = [SimData(0, count=32, values=False, datatype=DataType.BITS)]
        device = SimDevice(1, simdata=(bits, bits, blank, blank))
        self._loop = asyncio.get_running_loop()
        self._server = ModbusTcpServer(
            device, address=("127.0.0.1", self.port), trace_pdu=self._trace
        )
        await self._server.serve_forever(background=True)
        ready.set()
        await self._server.serving

    def _trace(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        request: Any = pdu
        if not sending and pdu.function_code == 16:
            self.blocks.append(dict(zip(REGISTERS, request.registers, strict=True)))
        elif not sending and pdu.function_code == 15:
            self.coils.append(dict(zip(COILS, request.bits[: len(COILS)], strict=True)))
        return pdu


@contextmanager
def plc() -> Iterator[Plc]:
    """One that listens."""
    made = Plc()
    made.start()
    try:
        yield made
    finally:
        made.stop()


def becomes(made: Plc, wanted: dict[str, int], what: str, timeout_s: float = 10) -> None:
    """Waits until the last write of the block has these values."""
    try:
        eventually(
            lambda: made.blocks and wanted.items() <= made.blocks[-1].items(), timeout_s, what
        )
    except AssertionError as error:
        raise AssertionError(f"{error}: {wanted}, found {made.blocks[-1:]}") from error
