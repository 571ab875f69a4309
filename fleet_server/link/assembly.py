"""Samples in the making: block 0 is the record, then raw bytes; collected in files, bounded."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fleet_contract.errors import ContractError
from fleet_contract.messages import Record, SampleBody
from fleet_contract.topics import BLOCK_LIMIT
from fleet_server.store import Store

_IDLE_S = 120.0
"""A sample without a new block for so long is dropped; the device sends it again."""


@dataclass(slots=True)
class Assembly:
    """One sample on its way."""

    spool_id: str
    record: Record
    body: SampleBody
    folder: Path
    touched: float
    have: set[int] = field(default_factory=set)
    length: int = 0

    @property
    def complete(self) -> bool:
        """Whether every block is there."""
        return len(self.have) == self.body.blocks

    @property
    def first_block(self) -> Path:
        """The file of the first bytes."""
        return self.folder / "1"


class Assemblies:
    """The samples on their way, at most `limit` of one device."""

    def __init__(self, folder: Path, limit: int, monotonic: Callable[[], float]) -> None:
        self._folder, self._limit, self._now = folder, limit, monotonic
        self._open: dict[tuple[str, str], Assembly] = {}
        # What an earlier process left behind is of no use: its records were not acknowledged.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def start(self, device: str, spool_id: str, record: Record, body: SampleBody) -> None:
        """Begins, or begins anew after a resend. Raises ContractError for impossible sizes."""
        smallest = -(-body.length // BLOCK_LIMIT)
        if not smallest <= body.blocks <= body.length:
            raise ContractError(
                "a sample's blocks do not fit its length",
                expected=f"at least {smallest} blocks for {body.length} bytes",
                found=str(body.blocks),
            )
        self.drop(device, body.sample_id)
        self._make_room(device)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        self._open[device, body.sample_id] = Assembly(spool_id, record, body, folder, self._now())

    def add(self, device: str, sample_id: str, number: int, data: bytes) -> Assembly | None:
        """Keeps a block; the assembly once it is complete. Blocks without a record are let go."""
        assembly = self._open.get((device, sample_id))
        if assembly is None or number in assembly.have:
            return None
        if not 1 <= number <= assembly.body.blocks:
            raise ContractError(
                "a sample has no such block",
                expected=f"1 to {assembly.body.blocks}",
                found=str(number),
            )
        if assembly.length + len(data) > assembly.body.length:
            self.drop(device, sample_id)
            raise ContractError(
                "a sample is longer than it said", expected=f"{assembly.body.length} bytes"
            )
        (assembly.folder / str(number)).write_bytes(data)
        assembly.have.add(number)
        assembly.length += len(data)
        assembly.touched = self._now()
        return assembly if assembly.complete else None

    def keep(self, assembly: Assembly, store: Store) -> str:
        """Puts the bytes into the store. Raises DataError where they are not those announced."""
        with store.writer(limit=assembly.body.length) as writer:
            for number in range(1, assembly.body.blocks + 1):
                writer.write((assembly.folder / str(number)).read_bytes())
            return writer.finish(assembly.body.sha256)

    def drop(self, device: str, sample_id: str) -> None:
        """Forgets a sample and its files."""
        assembly = self._open.pop((device, sample_id), None)
        if assembly:
            shutil.rmtree(assembly.folder, ignore_errors=True)

    def _make_room(self, device: str) -> None:
        now = self._now()
        idle = [key for key, open_ in self._open.items() if now - open_.touched > _IDLE_S]
        for key in idle:
            self.drop(*key)
        mine = [key for key in self._open if key[0] == device]
        for key in mine[: max(0, len(mine) - self._limit + 1)]:
            self.drop(*key)
