"""`loupe trace`: from a part back to the gates that let its bundle through."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from fleet_contract.errors import LoupeError
from fleet_contract.messages import Stream
from fleet_server.app import create_app
from fleet_server.cli.operator import app
from fleet_server.rollouts.controller import Controller
from fleet_server.telemetry.service import store
from tests.support.deploy import Deploy
from tests.support.http import serve
from tests.support.telemetry import envelope, parts, record

PLAN = {"stages": [{"name": "all", "min_parts": 0, "look_every_s": 1}]}


@pytest.fixture
def told(tmp_path: Path) -> Iterator[tuple[httpx.Client, str]]:
    """A server where part 3 was judged by a bundle that had been rolled out, and part 4 before."""
    deploy = Deploy(tmp_path)
    digest = deploy.approved()
    number = deploy.start(digest, PLAN)
    for device in deploy.devices:
        deploy.report(number, device, "committed")
    deploy.clock.advance(2)
    Controller(deploy.services).tick()
    after, before, unjudged = parts(3, 5).verdicts
    judged = [
        after.model_copy(update={"digest": digest, "time_s": deploy.clock.time() + 1}),
        before.model_copy(update={"digest": digest, "time_s": 1.0}),
    ]
    body = parts(3, 5).model_copy(update={"verdicts": [*judged, unjudged]})
    with deploy.services.database.write() as session:
        store(session, envelope("a", Stream.PARTS, [record(1, body)]), deploy.clock.time())
    with serve(create_app(deploy.services)) as client:
        yield client, digest


def loupe(client: httpx.Client, *words: str) -> str:
    server = str(client.base_url).removesuffix("/api/v1/")
    done = CliRunner().invoke(app, ["--server", server, "trace", *words], env={"COLUMNS": "200"})
    if isinstance(done.exception, LoupeError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_part_leads_to_its_bundle_dataset_approvals_and_gates(
    told: tuple[httpx.Client, str],
) -> None:
    client, digest = told
    found = json.loads(loupe(client, "a:spool-1:3", "--json"))
    assert found["verdict"]["digest"] == found["release"]["digest"] == digest
    assert found["release"]["lineage"]["dataset"] == "d" * 64
    assert len(found["release"]["signed_by"]) == 2
    assert [(gate["rollout"], gate["stage"]) for gate in found["passed"]] == [(1, "all")]
    assert found["passed"][0]["numbers"]["ready"] == ["a", "b", "c"]
    shown = loupe(client, "a:spool-1:3")
    assert "2 signatures" in shown
    assert "3 devices run the bundle" in shown


def test_gates_that_came_after_the_part_are_not_said_to_have_let_it_through(
    told: tuple[httpx.Client, str],
) -> None:
    assert "Gates passed: none" in loupe(told[0], "a:spool-1:4")


def test_a_part_that_no_bundle_judged_is_said_so(told: tuple[httpx.Client, str]) -> None:
    assert "none judged it" in loupe(told[0], "a:spool-1:5")


@pytest.mark.parametrize(
    ("part", "why"),
    [("a:spool-1:9", "no verdict is stored"), ("a:other:3", "no verdict"), ("3", "names no part")],
)
def test_a_part_that_is_not_there_is_told(
    told: tuple[httpx.Client, str], part: str, why: str
) -> None:
    with pytest.raises(LoupeError, match=why):
        loupe(told[0], part)
