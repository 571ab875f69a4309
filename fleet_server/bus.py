"""An event bus inside the process: any thread publishes, pages follow as asyncio iterators.

It carries hints ("incident 3 changed"), never the only copy of anything: a follower that is too slow
loses its oldest hints and is told so by `{"topic": "lost"}`.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

_DEPTH = 256


@dataclass(frozen=True, slots=True)
class BusEvent:
    """One hint: what changed, and what a page needs to know of it."""

    topic: str
    data: dict[str, Any] = field(default_factory=dict)


_END = BusEvent("end")


class Bus:
    """Fan-out from threads to asyncio followers."""

    def __init__(self) -> None:
        self._followers: dict[asyncio.Queue[BusEvent], asyncio.AbstractEventLoop] = {}
        self._lock = threading.RLock()  # a signal handler closes the bus, perhaps amid `publish`
        self._closed = False

    def publish(self, topic: str, data: dict[str, Any] | None = None) -> None:
        """Tells every follower; safe from any thread, never waits."""
        self._send(BusEvent(topic, data or {}))

    async def subscribe(self) -> AsyncIterator[BusEvent]:
        """Hints from now on, until `close`."""
        queue: asyncio.Queue[BusEvent] = asyncio.Queue(_DEPTH)
        with self._lock:
            if self._closed:
                return
            self._followers[queue] = asyncio.get_running_loop()
        try:
            while (event := await queue.get()) is not _END:
                yield event
        finally:
            with self._lock:
                self._followers.pop(queue, None)

    def close(self) -> None:
        """Ends every subscription."""
        with self._lock:
            self._closed = True
        self._send(_END)

    def _send(self, event: BusEvent) -> None:
        with self._lock:
            followers = list(self._followers.items())
        for queue, loop in followers:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_offer, queue, event)


def _offer(queue: asyncio.Queue[BusEvent], event: BusEvent) -> None:
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(BusEvent("lost"))
    queue.put_nowait(event)
