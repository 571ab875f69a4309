"""Live pages: one event `change` whenever something changed, at most one a second.

The page then asks for itself again and takes its live part; so there is one way to show anything.
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from fleet_server.bus import Bus
from fleet_server.services import ServicesDep

REST_S = 1.0
"""Least time between two changes, in seconds."""
KEEP_ALIVE_S = 15.0
"""A comment after this long without one, so that a dead connection is noticed."""

router = APIRouter()


@router.get("/live", include_in_schema=False)
async def live(services: ServicesDep) -> StreamingResponse:
    """Server-sent events for the pages."""
    return StreamingResponse(
        changes(services.bus), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def changes(bus: Bus, *, rest_s: float = REST_S) -> AsyncIterator[str]:
    """`change` at once, since the page may be older than the connection, then after each hint."""
    changed = asyncio.Event()
    changed.set()
    follower = asyncio.create_task(_follow(bus, changed))
    try:
        while True:
            try:
                await asyncio.wait_for(changed.wait(), KEEP_ALIVE_S)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            if follower.done():
                return
            changed.clear()
            yield "retry: 2000\nevent: change\ndata: {}\n\n"
            await asyncio.sleep(rest_s)
    finally:
        follower.cancel()


async def _follow(bus: Bus, changed: asyncio.Event) -> None:
    async for _hint in bus.subscribe():
        changed.set()
    changed.set()
