"""The HTTP API as the operator's command line speaks it."""

from collections.abc import Mapping
from typing import Any

import httpx
import typer

from fleet_contract.errors import LoupeError, ResourceError


class RefusedError(LoupeError):
    """The server refused, and said why."""


_TIMEOUT_S = 60.0


class ApiClient:
    """One server, below /api/v1."""

    def __init__(self, url: str, by: str = "operator") -> None:
        self.by = by
        """Who acts; stands in the audit log."""
        self._url = url.rstrip("/")
        # No proxies: the server is on this machine, or behind a tunnel to it.
        self._http = httpx.Client(
            base_url=f"{self._url}/api/v1", timeout=_TIMEOUT_S, trust_env=False
        )

    def get(self, path: str, **query: object) -> Any:
        """JSON of `path`; query values that are None are left out."""
        return self._json(self._ask("GET", path, params=_given(query)))

    def post(self, path: str, body: object | None = None, **query: object) -> Any:
        """JSON of the answer; None where it is empty."""
        return self._json(self._ask("POST", path, json=body, params=_given(query)))

    def put(self, path: str, body: object) -> Any:
        """JSON of the answer."""
        return self._json(self._ask("PUT", path, json=body))

    def send(self, method: str, path: str, data: bytes, **query: object) -> Any:
        """A raw body; JSON of the answer, None where it is empty."""
        headers = {"content-type": "application/octet-stream"}
        return self._json(
            self._ask(method, path, content=data, headers=headers, params=_given(query))
        )

    def has(self, path: str) -> bool:
        """Whether something is there."""
        return self._send("HEAD", path).is_success

    def _ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        response = self._send(method, path, **arguments)
        if not response.is_success:
            raise RefusedError(_reason(response))
        return response

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ResourceError(
                f"no Loupe server answers at {self._url}",
                found=str(error),
                remedy="Start it with `loupe-server run`, or name another with --server URL.",
            ) from error

    @staticmethod
    def _json(response: httpx.Response) -> Any:
        return response.json() if response.content else None


def _given(query: Mapping[str, object]) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }


def _reason(response: httpx.Response) -> str:
    if "json" in response.headers.get("content-type", ""):
        return str(response.json().get("detail", response.text[:500]))
    return f"the server answered {response.status_code}: {response.text[:500]}"


def client(context: typer.Context) -> ApiClient:
    """The server that this call of the command line speaks to."""
    found: ApiClient = context.obj
    return found
