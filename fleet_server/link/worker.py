"""Threads between the MQTT client and the database: one writes in groups, one answers requests."""

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable

from sqlalchemy.exc import OperationalError

from fleet_contract.messages import Request
from fleet_server.link.ingest import Incoming
from fleet_server.link.publisher import RequestHandler

log = logging.getLogger(__name__)

_DEPTH = 10_000
"""Messages that wait; above it the MQTT client is held back, and the broker with it."""
_BATCH = 200
_RETRY_S = 1.0


class Writer:
    """Takes messages in order and hands them over in batches, on one thread."""

    def __init__(self, take: Callable[[list[Incoming]], None], failures: Counter[str]) -> None:
        self._take, self._failures = take, failures
        self._queue: queue.Queue[Incoming | None] = queue.Queue(_DEPTH)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)

    def start(self) -> None:
        """Begins to write."""
        self._thread.start()

    def put(self, message: Incoming) -> None:
        """Queues a message; waits while the queue is full."""
        self._queue.put(message)

    def stop(self) -> None:
        """Writes what is queued, then ends."""
        self._stop.set()
        self._queue.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while (batch := self._batch()) is not None:
            self._write(batch)

    def _batch(self) -> list[Incoming] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < _BATCH:
            try:
                message = self._queue.get_nowait()
            except queue.Empty:
                break
            if message is None:
                self._queue.put(None)
                break
            batch.append(message)
        return batch

    def _write(self, batch: list[Incoming]) -> None:
        while True:
            try:
                self._take(batch)
                return
            except OperationalError:
                # The database cannot be written now (a full disk, a lost server): nothing was
                # acknowledged, so the batch waits here and the devices keep theirs.
                self._failures["ingest"] += 1
                log.exception("the database refused %d messages; they wait", len(batch))
                if self._stop.wait(_RETRY_S):
                    return
            except Exception:
                self._failures["ingest"] += 1
                log.exception("a batch of %d messages failed", len(batch))
                if len(batch) == 1:
                    return
                # One message must not take the others with it: each on its own, once.
                for message in batch:
                    self._write([message])
                return


class Responder:
    """Answers requests on a thread of its own, so that large answers never hold up ingest."""

    def __init__(self, failures: Counter[str]) -> None:
        self._failures = failures
        self._queue: queue.Queue[tuple[str, str, Request] | None] = queue.Queue(_DEPTH)
        self._handler: RequestHandler | None = None
        self._thread = threading.Thread(target=self._run, name="requests", daemon=True)

    def handle(self, handler: RequestHandler) -> None:
        """Says who answers; until then requests are let go, and devices ask again."""
        self._handler = handler

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def put(self, device: str, request_id: str, request: Request) -> None:
        """Queues a request."""
        self._queue.put((device, request_id, request))

    def stop(self) -> None:
        """Ends after the request that is being answered."""
        self._queue.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._handler is None:
                continue
            try:
                self._handler(*item)
            except Exception:
                self._failures["requests"] += 1
                log.exception("request %s of %s failed", item[1], item[0])
