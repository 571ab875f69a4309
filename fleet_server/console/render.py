"""The console's pages: one jinja environment, the headers of every page, and refusals as pages."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fleet_contract.errors import ConfigError, LoupeError
from fleet_server.console import show
from fleet_server.errors import status_of

HERE = Path(__file__).parent
STATIC = HERE / "static"

ACTOR = "console"
"""Who acts, for the audit log: this version has no accounts."""

HEADERS = {
    # Everything from here; no inline script or style, no frames, no plug-ins.
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

NAVIGATION = (
    ("/", "Overview"),
    ("/drift", "Drift"),
    ("/review", "Review"),
    ("/datasets", "Datasets"),
    ("/runs", "Training"),
    ("/releases", "Releases"),
    ("/rollouts", "Rollouts"),
    ("/audit", "Audit"),
)


_BACK = {"/lines": "/datasets"}
"""Where a refused act leads back to, where its address is no page."""


def environment() -> Environment:
    """Templates with escaping on; a name that a template uses and nobody set is an error."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        show.ago, show.absolute, show.span, show.short, show.percent,
        show.size, show.number, show.plain,
    ):  # fmt: skip
        made.filters[function.__name__] = function
    made.globals["spark_path"] = show.spark_path
    return made


_ENVIRONMENT = environment()


def page(
    request: Request, template: str, *, now: float, status: int = 200, **context: Any
) -> HTMLResponse:
    """The page `template` as an answer.

    `now` is the server's time in seconds since 1970; times are shown relative to it.
    """
    path = request.url.path
    section = next((start for start, _ in NAVIGATION[1:] if path.startswith(start)), "/")
    text = _ENVIRONMENT.get_template(template).render(
        now=now, section=section, navigation=NAVIGATION, **context
    )
    return HTMLResponse(text, status, HEADERS)


def go(path: str) -> RedirectResponse:
    """After an act: the browser asks for `path` by GET, so that reloading does not repeat the act."""
    return RedirectResponse(path, 303)


class ConsoleRoute(APIRoute):
    """A route whose refusals are pages for a person, not problem documents."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_or_explain(request: Request) -> Response:
            try:
                return await handle(request)
            except LoupeError as error:
                return problem(request, error)
            except RequestValidationError as error:
                first = error.errors()[0]
                found = f"{first['loc'][-1]}: {first['msg']}"
                return problem(request, ConfigError("the address or form is wrong", found=found))

        return handle_or_explain


def problem(request: Request, error: LoupeError) -> HTMLResponse:
    """The page that says why something was refused."""
    status = status_of(error)
    room = f"/{request.url.path.split('/')[1]}"
    view = {
        "title": "Nothing is here" if status == 404 else "That was not done",
        "detail": str(error),
        "back": room if any(room == path for path, _ in NAVIGATION) else _BACK.get(room, "/drift"),
    }
    now = request.app.state.services.clock.time()
    return page(request, "problem.html", now=now, status=status, page=view)
