"""The repositories as a parameter of routes."""

from typing import Annotated

from fastapi import Depends, Request

from fleet_server.trust.setup import TrustRepositories


def _trust(request: Request) -> TrustRepositories:
    trust: TrustRepositories = request.app.state.trust
    return trust


TrustDep = Annotated[TrustRepositories, Depends(_trust)]
"""Parameter type of routes: `def route(trust: TrustDep)`; the application sets `app.state.trust`."""
