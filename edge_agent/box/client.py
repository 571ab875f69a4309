"""Asks the running agent's status page, whose address lies in the data folder."""

import http.client
import json
from pathlib import Path
from typing import Any

from fleet_contract.errors import ResourceError

ADDRESS = "box.address"
"""File in the data folder: `host:port` of the page, while the agent serves it."""
_TIMEOUT_S = 5.0
_MOST = 64 * 2**20


def fetch(folder: Path, path: str) -> bytes:
    """The body at `path` of the page. Raises ResourceError where nobody answers it."""
    remedy = "Is the agent running, with an address in [box]? `loupe-agent status` says."
    try:
        address = (folder / ADDRESS).read_text("ascii").strip()
        connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read(_MOST)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise ResourceError(f"the agent's page does not answer: {error}", remedy=remedy) from error
    if answer.status != 200:
        raise ResourceError(f"the agent's page says: {body.decode(errors='replace').strip()}")
    return body


def live_state(folder: Path) -> dict[str, Any] | None:
    """The running agent's state; None where its page does not answer."""
    try:
        state: dict[str, Any] = json.loads(fetch(folder, "/state.json"))
    except (ResourceError, ValueError):
        return None
    return state
