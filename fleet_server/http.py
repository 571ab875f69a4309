"""What all routes share: problem details (RFC 9457), who may ask, how large a body may be."""

import logging
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet_contract.errors import LoupeError
from fleet_server.errors import TooLargeError, status_of

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
LOOPBACK = ["127.0.0.1", "localhost"]
"""Hosts that a request may name; anything else is another site's trick (DNS rebinding)."""
_SAFE = ("GET", "HEAD", "OPTIONS")


class Problem(BaseModel):
    """Problem details of an error."""

    type: str
    title: str
    status: int
    detail: str


def problem(status: int, kind: str, detail: str) -> Response:
    """The answer to a request that cannot be met."""
    name = kind.removesuffix("Error")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    content = Problem(
        type=f"urn:loupe:problem:{words.lower().replace(' ', '-')}",
        title=words.capitalize(),
        status=status,
        detail=detail,
    )
    return Response(content.model_dump_json(), status, media_type=PROBLEM)


def install_problems(app: FastAPI) -> None:
    """Every error of a route becomes problem details."""

    @app.exception_handler(LoupeError)
    def _loupe(_request: Request, error: LoupeError) -> Response:
        return problem(status_of(error), type(error).__name__, str(error))

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(422, "InvalidRequest", f"{where}: {first['msg']}")

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase.replace(" ", "")
        return problem(error.status_code, phrase, f"{request.method} {request.url.path}")

    @app.exception_handler(Exception)
    def _bug(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(500, "InternalError", "The server made a mistake; its log says which.")


class Guard:
    """Refuses writes from other sites' pages and bodies above the limit (pure ASGI)."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if request.method not in _SAFE and _from_elsewhere(request):
            detail = (
                "Writes are taken from this server's own pages and from tools, not other sites."
            )
            await problem(403, "OtherOriginError", detail)(scope, receive, send)
            return
        if int(_digits(request.headers.get("content-length"))) > self._limit:
            detail = f"a body is too large; expected at most {self._limit} bytes"
            await problem(413, TooLargeError.__name__, detail)(scope, receive, send)
            return
        await self._app(scope, _counted(receive, self._limit), send)


def _digits(text: str | None) -> str:
    return text if text and text.isdecimal() else "0"


def _from_elsewhere(request: Request) -> bool:
    origin = request.headers.get("origin")
    if origin is not None:
        return origin != f"{request.url.scheme}://{request.headers.get('host', '')}"
    return request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def _counted(receive: Receive, limit: int) -> Callable[[], Awaitable[Message]]:
    """A body without a length cannot grow for ever either."""
    taken = 0

    async def count() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise TooLargeError("a body is too large", expected=f"at most {limit} bytes")
        return message

    return count


def install_guards(app: FastAPI, limit: int) -> None:
    """Only this machine's names, only this server's pages, only bodies up to `limit` bytes."""
    app.add_middleware(Guard, limit=limit)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK)
