"""Fetching a bundle: join the broadcast, ask for what is missing, verify each block on arrival."""

import queue
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from edge_agent.update.assembly import Assembly
from edge_agent.update.bundles import BundleStore, disk_errors
from edge_agent.update.target import Target
from fleet_contract import blocks
from fleet_contract.archive import write_durable
from fleet_contract.blocks import BlockHashes
from fleet_contract.errors import BundleError, TransferError
from fleet_contract.messages import Request
from fleet_contract.trust.custom import Encoding

QUIET_S = 2.0
"""Silence on the broadcast after which missing blocks are asked for one by one."""
BLOCKS_A_REQUEST = 16


class Transport(Protocol):
    """What fetching needs of the link. Thread-safe."""

    def request(self, request: Request) -> bytes:
        """The answer's bytes. Raises TransferError."""

    def broadcast(
        self, digest: str, receive: Callable[[int, bytes], None]
    ) -> AbstractContextManager[None]:
        """Hears the blocks of an encoding while the context lasts, on a thread of the link."""


class Cancelled(Exception):  # noqa: N818
    """Another assignment came, or the agent stops."""


class Fetcher:
    """Brings a target's archive to the disk. One thread."""

    def __init__(
        self, transport: Transport, store: BundleStore, *, quiet_s: float = QUIET_S
    ) -> None:
        self._transport, self._store, self._quiet_s = transport, store, quiet_s
        self._at_once = BLOCKS_A_REQUEST

    def fetch(self, target: Target, cancelled: Callable[[], bool]) -> dict[str, float]:
        """Leaves the verified archive at `store.archive_path`; goes on where it was interrupted.

        Raises BundleError for bytes that are not the signed ones, DiskFullError, TransferError for
        a link that does not carry (call again), Cancelled.
        """
        if self._store.archive_path(target.digest).exists() or self._store.intact(target.digest):
            return {"blocks": 0}
        encoding, self._at_once = target.image.encodings[0], BLOCKS_A_REQUEST
        self._store.check_space(encoding.length + 2 * target.length)
        hashes = self._hashes(encoding)
        assembly = Assembly(self._store.incoming / f"{encoding.digest}.part", hashes)
        numbers = {"blocks": float(hashes.count), "resumed": float(hashes.count)}
        numbers["resumed"] -= len(assembly.missing)
        try:
            self._collect(encoding, assembly, hashes, cancelled, numbers)
            self._store.save_archive(target.digest, _decoded(target, encoding, assembly.content()))
        except BundleError:
            assembly.remove()
            raise
        except BaseException:
            assembly.close()
            raise
        assembly.remove()
        return numbers

    def _hashes(self, encoding: Encoding) -> BlockHashes:
        path = self._store.incoming / f"{encoding.digest}.hashes"
        if path.exists():
            try:
                return _verified(path.read_bytes(), encoding)
            except TransferError:
                path.unlink()
        data = self._transport.request(Request(op="hashes", digest=encoding.digest))
        hashes = _verified(data, encoding)
        with disk_errors("the bundle's block hashes"):
            write_durable(path, data)
        return hashes

    def _collect(
        self,
        encoding: Encoding,
        assembly: Assembly,
        hashes: BlockHashes,
        cancelled: Callable[[], bool],
        numbers: dict[str, float],
    ) -> None:
        arrived: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        numbers |= {"broadcast": 0.0, "unicast": 0.0}
        if not assembly.missing:
            return
        with self._transport.broadcast(encoding.digest, lambda n, data: arrived.put((n, data))):
            self._transport.request(Request(op="join", digest=encoding.digest))
            heard = time.monotonic()
            while assembly.missing:
                if cancelled():
                    raise Cancelled
                try:
                    index, data = arrived.get(timeout=0.1)
                except queue.Empty:
                    if time.monotonic() - heard > self._quiet_s:
                        numbers["unicast"] += self._ask(encoding, assembly, hashes)
                    continue
                heard = time.monotonic()
                numbers["broadcast"] += assembly.offer(index, data)

    def _ask(self, encoding: Encoding, assembly: Assembly, hashes: BlockHashes) -> int:
        wanted = assembly.missing[: self._at_once]
        data = self._transport.request(Request(op="blocks", digest=encoding.digest, blocks=wanted))
        sizes = [hashes.size(index) for index in wanted]
        if len(data) != sum(sizes):
            # Which of them is short cannot be told: ask one by one, and count it as a wrong answer.
            self._at_once = 1
            assembly.offer(wanted[0], data)
            return 0
        right, start = 0, 0
        for index, size in zip(wanted, sizes, strict=True):
            right += assembly.offer(index, data[start : start + size])
            start += size
        return right


def _verified(data: bytes, encoding: Encoding) -> BlockHashes:
    return BlockHashes.verified(
        data,
        digest=encoding.hashes_digest,
        length=encoding.length,
        block_size=encoding.block_size,
    )


def _decoded(target: Target, encoding: Encoding, content: bytes) -> bytes:
    """The archive, as TUF's target says it is. Raises BundleError."""
    if blocks.sha256(content) != encoding.digest:
        raise BundleError("the encoding is not the signed one, though each of its blocks is")
    try:
        data = blocks.decompress(content, target.length)
    except TransferError as error:
        raise BundleError(f"the signed encoding does not decode: {error}") from error
    if blocks.sha256(data) != target.sha256 or target.digest != target.sha256:
        raise BundleError("the archive is not the target that was signed")
    return data
