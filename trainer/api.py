"""The server's HTTP API, as a trainer needs it."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from fleet_contract.errors import DataError, LoupeError, TransferError

T = TypeVar("T")
_TIMEOUT_S = httpx.Timeout(30.0, connect=5.0)


class AwayError(LoupeError):
    """The server does not answer; it may later."""


class LeaseLostError(LoupeError):
    """The run belongs to another worker now, or to none."""


class Api:
    """Calls below `/api/v1`. Every method raises AwayError, TransferError."""

    def __init__(self, server: str) -> None:
        self._http = httpx.Client(base_url=f"{server.rstrip('/')}/api/v1", timeout=_TIMEOUT_S)
        self._server = server

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def lease(self, worker: str) -> dict[str, Any] | None:
        """The next run for this worker; None where none waits."""
        answer = self._call("POST", "/runs/lease", json={"worker": worker})
        return None if answer.status_code == httpx.codes.NO_CONTENT else _json(answer)

    def heartbeat(
        self, run: str, worker: str, progress: float, message: str, log: list[str]
    ) -> bool:
        """Renews the lease; True where the run was cancelled. Raises LeaseLostError."""
        body = {"worker": worker, "progress": progress, "message": message, "log": log}
        return bool(_json(self._call("POST", f"/runs/{run}/heartbeat", json=body))["cancelled"])

    def finish(self, run: str, body: dict[str, Any]) -> None:
        """The run's outcome. Raises LeaseLostError."""
        self._call("POST", f"/runs/{run}/finish", json=body)

    def give_back(self, run: str, worker: str) -> None:
        """Another worker may go on with the run. Raises LeaseLostError."""
        self._call("POST", f"/runs/{run}/give-back", json={"worker": worker})

    def checkpoint(self, run: str, worker: str) -> bytes:
        """What an earlier worker left of the run, not verified. Raises LeaseLostError."""
        return self._call("GET", f"/runs/{run}/checkpoint", params={"worker": worker}).content

    def put_checkpoint(self, run: str, worker: str, data: bytes) -> None:
        """Leaves the state of the run for a next worker. Raises LeaseLostError."""
        self._call(
            "PUT", f"/runs/{run}/checkpoint", params={"worker": worker}, content=data,
            headers={"Content-Type": "application/octet-stream"},
        )  # fmt: skip

    def dataset(self, digest: str) -> bytes:
        """JSON of a dataset version."""
        return self._call("GET", f"/datasets/{digest}").content

    def blob(self, sha256: str) -> bytes:
        """The bytes of an object, not verified."""
        return self._call("GET", f"/blobs/{sha256}").content

    def bundle(self, digest: str) -> bytes:
        """The archive of a bundle, not verified."""
        return self._call("GET", f"/bundles/{digest}").content

    def submit(self, archive: bytes, run: str) -> dict[str, Any]:
        """Submits a bundle: its digest, line and state."""
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._call(
            "POST", "/releases", params={"run": run}, content=archive, headers=headers
        )
        return _json(answer)

    def to_sign(self, digest: str) -> dict[str, Any]:
        """`metadata` that a signature of the release is of, and `previous`, the published one.

        Raises DataError where one is missing.
        """
        offered = _json(self._call("GET", f"/releases/{digest}/to-sign"))
        if not {"metadata", "previous"} <= offered.keys():
            raise DataError("the server offers nothing to sign", expected="metadata and previous",
                            found=", ".join(offered))  # fmt: skip
        return offered

    def add_signature(self, digest: str, keyid: str, signature: str) -> dict[str, Any]:
        """Adds a signature to a release."""
        body = {"keyid": keyid, "sig": signature}
        return _json(self._call("POST", f"/releases/{digest}/signatures", json=body))

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise AwayError(f"{self._server} does not answer: {error}") from error
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise AwayError(f"{self._server} failed", found=_problem(answer))
        if answer.status_code == httpx.codes.CONFLICT and path.startswith("/runs/"):
            raise LeaseLostError(_problem(answer))
        if answer.is_error:
            raise TransferError(f"{method} {path} was refused", found=_problem(answer))
        return answer


def patiently(call: Callable[[], T], wait: Callable[[float], bool], tries: int) -> T:
    """`call`, tried again while the server is away; `wait` waits so many seconds, True to give up."""
    for attempt in range(tries - 1):
        try:
            return call()
        except AwayError:
            if wait(min(2.0**attempt, 30.0)):
                raise
    return call()


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except json.JSONDecodeError as error:
        raise DataError("the server's answer is not JSON") from error
    if not isinstance(value, dict):
        raise DataError("the server's answer is not an object", found=type(value).__name__)
    return value


def _problem(answer: httpx.Response) -> str:
    """Title and detail of a problem document (RFC 9457), or the beginning of whatever came."""
    try:
        document = answer.json()
    except json.JSONDecodeError:
        document = None
    if isinstance(document, dict) and ("detail" in document or "title" in document):
        text = ": ".join(str(document[k]) for k in ("title", "detail") if document.get(k))
        return f"{answer.status_code} {text}"
    return f"{answer.status_code} {answer.text[:200]}"
