"""The server's HTTP API, as the people of the story use it."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from fleet_contract.errors import LoupeError
from hil.story import interrupt

T = TypeVar("T")
_PAUSE_S = 0.25


class StoryError(LoupeError):
    """Something that the story promises was not observed."""


class Api:
    """JSON over HTTP; answers are plain dictionaries and lists."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=30.0, trust_env=False)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def get(self, path: str, **query: str | int) -> Any:
        """Raises StoryError with the server's own words for an error."""
        return self._answer(self._http.get(path, params=query))

    def post(self, path: str, body: object = None) -> Any:
        """Raises StoryError with the server's own words for an error."""
        return self._answer(self._http.post(path, json=body))

    def bytes(self, path: str) -> bytes:
        """A binary answer."""
        response = self._http.get(path)
        self._check(response)
        return response.content

    def healthy(self) -> bool:
        """Whether the server answers."""
        try:
            return self._http.get("/health").is_success
        except httpx.TransportError:
            return False

    def _answer(self, response: httpx.Response) -> Any:
        self._check(response)
        return response.json() if response.content else None

    def _check(self, response: httpx.Response) -> None:
        if response.is_error:
            problem = response.json() if "json" in response.headers.get("content-type", "") else {}
            raise StoryError(
                f"the server refused {response.request.method} {response.request.url.path}",
                found=str(problem.get("detail") or problem or response.text[:300]),
            )


def until(
    what: str,
    look: Callable[[], T | None],
    *,
    patience_s: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> T:
    """Looks until `look` gives something true, at most `patience_s` seconds.

    `meanwhile` runs between two looks and may raise what makes waiting pointless. Raises StoryError
    that says what was waited for.
    """
    deadline = time.monotonic() + patience_s
    while True:
        interrupt.check()
        found = look()
        if found:
            return found
        meanwhile()
        if time.monotonic() > deadline:
            raise StoryError(f"waited {patience_s:.0f} s in vain: {what}")
        time.sleep(_PAUSE_S)
