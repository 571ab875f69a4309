"""Metadata that expire are renewed by the server, or told of in time."""

from pathlib import Path

import pytest
from sqlmodel import select

from fleet_server.app import is_healthy
from fleet_server.rollouts.controller import Controller
from fleet_server.telemetry.models import EventRow
from fleet_server.trust.watch import look
from tests.support.deploy import Deploy

DAY_S = 86_400.0


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    made = Deploy(tmp_path / "server", devices=("a", "b"))
    for device in made.devices:
        made.services.trust.director.serve(device, "timestamp.json")
    return made


def told(deploy: Deploy) -> list[tuple[str, str]]:
    with deploy.services.database.read() as session:
        rows = session.exec(select(EventRow).where(EventRow.kind == "trust.expiring")).all()
    return [(row.device, row.data["role"]) for row in rows]


def test_what_the_server_renews_never_alarms(deploy: Deploy) -> None:
    for _ in range(20):
        deploy.clock.advance(2 * DAY_S)
        Controller(deploy.services).tick()
        assert look(deploy.services) == []
    health = is_healthy(deploy.services)
    assert (health.status, health.expiring) == ("ok", [])


def test_a_list_of_bundles_is_told_of_a_month_before_it_expires_and_once(deploy: Deploy) -> None:
    for days in (300, 34, 2):
        deploy.clock.advance(days * DAY_S)
        deploy.services.trust.image.renew()
        for device in deploy.devices:
            deploy.services.trust.director.renew(device)
        deploy.services.trust.image.renew()
        look(deploy.services)
        look(deploy.services)
    assert told(deploy) == [("server", "image targets")]
    health = is_healthy(deploy.services)
    assert health.status == "degraded"
    [text] = health.expiring
    assert "image repository's targets expire on" in text
    assert "loupe-server keys draft" in text


def test_an_online_role_that_is_not_renewed_alarms_with_its_device(deploy: Deploy) -> None:
    deploy.clock.advance(6 * DAY_S)
    deploy.services.trust.image.renew()
    deploy.services.trust.director.renew("a")
    assert [(one.device, one.role) for one in look(deploy.services)] == [("b", "timestamp")]
    deploy.clock.advance(2 * DAY_S)
    look(deploy.services)
    assert "have expired" in is_healthy(deploy.services).expiring[0]
    assert told(deploy) == [("b", "director timestamp")]
    deploy.services.trust.director.renew("b")
    assert look(deploy.services) == []
    assert is_healthy(deploy.services).expiring == []
