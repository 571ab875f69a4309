"""Answers the devices' requests, and broadcasts encodings in waves; measures both.

`handle` is called on the link's request thread, `tick` on a thread of the server; a broadcast is paced,
so that it leaves room for everything else on the connection.
"""

import logging
import threading
from collections.abc import Callable
from functools import lru_cache

from sqlmodel import col, select

from fleet_contract import blocks
from fleet_contract.errors import LoupeError
from fleet_contract.messages import Request, ResponseHead
from fleet_contract.topics import BLOCK_LIMIT
from fleet_server.distribution.models import Push
from fleet_server.distribution.waves import Wave
from fleet_server.errors import NotFoundError
from fleet_server.registry.models import Device
from fleet_server.releases.models import EncodingRow, Release
from fleet_server.releases.service import encoding
from fleet_server.rollouts.models import AssignmentRow
from fleet_server.services import Services

log = logging.getLogger(__name__)

PACE_BYTES_S = 8_000_000
MAX_BLOCKS = 16
"""Blocks that one request may ask for."""


class Distribution:
    """One for the server; all state of waves is in memory: devices ask again after a restart."""

    def __init__(self, services: Services, wait: Callable[[float], object] | None = None) -> None:
        """`wait` waits for so many seconds between two blocks of a broadcast."""
        self._services = services
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._lock = threading.Lock()
        self._waves: dict[str, Wave] = {}
        self._served: dict[str, set[str]] = {}
        """Encoding -> devices that a broadcast was for."""
        self._pushes: dict[str, int] = {}
        """Encoding -> its latest push."""
        self._unicast: dict[tuple[int, str], int] = {}
        """(push, device) -> bytes not yet written down."""
        self._blob = lru_cache(maxsize=4)(services.store.read)

    def handle(self, device: str, request_id: str, request: Request) -> None:
        """Answers one request of `device` on the topic that follows from the request's."""
        try:
            parts = self._answer(device, request)
        except NotFoundError as error:
            self._respond(device, request_id, [], 404, str(error))
        except LoupeError as error:
            self._respond(device, request_id, [], 400, str(error))
        else:
            self._respond(device, request_id, parts, 200)

    def _answer(self, device: str, request: Request) -> list[bytes]:
        if request.op == "metadata":
            return _cut(self._metadata(device, request.path))
        with self._services.database.read() as session:
            row = encoding(session, request.digest or "")
        if request.op == "join":
            self._join(device, row)
            return []
        if request.op == "hashes":
            return _cut(self._services.store.read(row.hashes_digest))
        return self._blocks(device, row, request.blocks)

    def _metadata(self, device: str, path: str) -> bytes:
        data = self._services.trust.serve(device, path)
        if data is None:
            raise NotFoundError(f"there is no {path}")
        return data

    def _blocks(self, device: str, row: EncodingRow, wanted: list[int]) -> list[bytes]:
        count = blocks.block_count(row.length, row.block_size)
        if not wanted or len(wanted) > MAX_BLOCKS or max(wanted) >= count:
            raise NotFoundError(
                "not blocks of this encoding",
                expected=f"1 to {MAX_BLOCKS} numbers below {count}",
                found=str(wanted[:20]),
            )
        data = self._blob(row.digest)
        found = [blocks.block(data, index, row.block_size) for index in wanted]
        with self._lock:
            push = self._push(row)
            key = (push, device)
            self._unicast[key] = self._unicast.get(key, 0) + sum(map(len, found))
        return found

    def _respond(
        self, device: str, request_id: str, parts: list[bytes], status: int, error: str = ""
    ) -> None:
        publish = self._services.publisher.publish
        head = ResponseHead(
            status=status, length=sum(map(len, parts)), blocks=len(parts), error=error[:500]
        )
        publish("res", {"device": device, "id": request_id, "n": 0}, head.encode())
        for number, part in enumerate(parts, start=1):
            publish("res", {"device": device, "id": request_id, "n": number}, part)

    def _join(self, device: str, row: EncodingRow) -> None:
        now = self._services.clock.monotonic()
        with self._lock:
            wave = self._waves.get(row.digest)
            if wave is None:
                first = row.digest not in self._served
                wave = Wave(row.digest, now, frozenset(), first)
                if first:
                    self._push(row, fresh=True)
            self._waves[row.digest] = wave.join(device)

    def _push(self, row: EncodingRow, *, fresh: bool = False) -> int:
        """The encoding's latest push, made where there is none."""
        if row.digest in self._pushes and not fresh:
            return self._pushes[row.digest]
        with self._services.database.write() as session:
            release = session.get(Release, row.bundle)
            push = Push(
                digest=row.digest,
                bundle=row.bundle,
                line=release.line if release else "",
                length=row.length,
                opened_at=self._services.clock.time(),
            )
            session.add(push)
            session.flush()
            self._pushes[row.digest] = push.id or 0
        return self._pushes[row.digest]

    def tick(self) -> None:
        """Broadcasts what is due, and writes down what was sent one by one."""
        now = self._services.clock.monotonic()
        for digest, wave in list(self._waves.items()):
            if not wave.due(self._expected(digest), now):
                continue
            with self._lock:
                wave = self._waves.pop(digest)
                self._served.setdefault(digest, set()).update(wave.joined)
            if wave.worth_it:
                self._broadcast(wave)
        self._write_unicast()

    def _expected(self, digest: str) -> frozenset[str]:
        """Devices that are assigned the encoding's bundle, online, and were not served before."""
        query = (
            select(AssignmentRow.device)
            .join(EncodingRow, col(EncodingRow.bundle) == col(AssignmentRow.digest))
            .join(Device, col(Device.name) == col(AssignmentRow.device))
            .where(EncodingRow.digest == digest, col(Device.online).is_(True))
        )
        with self._services.database.read() as session:
            assigned = frozenset(session.exec(query))
        return assigned - self._served.get(digest, set())

    def _broadcast(self, wave: Wave) -> None:
        with self._services.database.read() as session:
            row = encoding(session, wave.digest)
        data = self._blob(row.digest)
        with self._lock:
            key = self._push(row, fresh=not wave.first)
        started = self._services.clock.time()
        log.info("bundle %s goes to %d devices", row.bundle[:12], len(wave.joined))
        for index in range(blocks.block_count(row.length, row.block_size)):
            if self._stop.is_set():
                return
            part = blocks.block(data, index, row.block_size)
            self._services.publisher.publish("bundle", {"digest": row.digest, "n": index}, part)
            self._wait(len(part) / PACE_BYTES_S)
        with self._services.database.write() as session:
            push = session.get_one(Push, key)
            push.joined = sorted(wave.joined)
            push.started_at, push.finished_at = started, self._services.clock.time()
            push.bytes_broadcast += len(data)
            session.add(push)
        self._services.bus.publish("pushes", {"push": key})

    def _write_unicast(self) -> None:
        with self._lock:
            sent, self._unicast = self._unicast, {}
        if not sent:
            return
        with self._services.database.write() as session:
            for (key, device), count in sent.items():
                push = session.get_one(Push, key)
                push.unicast = {**push.unicast, device: push.unicast.get(device, 0) + count}
                push.bytes_unicast += count
                session.add(push)

    def stop(self) -> None:
        """Ends a broadcast that is under way; devices ask for the rest."""
        self._stop.set()


def _cut(data: bytes) -> list[bytes]:
    count = blocks.block_count(len(data), BLOCK_LIMIT)
    return [blocks.block(data, index, BLOCK_LIMIT) for index in range(count)]
