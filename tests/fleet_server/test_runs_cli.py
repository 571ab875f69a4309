"""Training runs from the operator's command line, against a real server."""

import json
from collections.abc import Iterator

import httpx
import pytest
from typer.testing import CliRunner, Result

from fleet_contract.clock import ManualClock
from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_contract.errors import LoupeError
from fleet_server.app import create_app
from fleet_server.cli.operator import app
from fleet_server.labels import service as labels
from fleet_server.registry.service import put_line, set_dataset
from fleet_server.runs import service
from fleet_server.services import Services
from tests.support.http import serve
from tests.support.telemetry import LINE, png


@pytest.fixture
def server(services: Services) -> Iterator[httpx.Client]:
    """A server with one line and its dataset."""
    item = {"sha256": services.store.put(png(901)), "label": "good", "group": "p"}
    items = [DatasetItem.model_validate({**item, "split": "train", "slices": {"light": "low"}})]
    version = DatasetVersion(line=LINE, reason="import", channels=3, items=items)
    with services.database.write() as session:
        policy = {"train_schedule": "every 6h"}
        put_line(session, 0.0, "test", LINE, training_config="[line]\n", policy=policy)
        row = labels.add_dataset(session, services.store, 0.0, "ann", version)
        set_dataset(session, 0.0, "ann", LINE, row.digest)
    with serve(create_app(services)) as client:
        yield client


def loupe(server: httpx.Client, *arguments: str) -> Result:
    """`loupe` with these arguments."""
    return CliRunner().invoke(
        app, ["--server", str(server.base_url.join("/")), "--by", "ann", *arguments]
    )


def finish(services: Services, clock: ManualClock, outcome: service.Outcome) -> str:
    """A worker takes the run that waits, says something and ends it; returns its id."""
    with services.database.write() as session:
        now, config = clock.time(), services.config.runs
        run = service.lease(session, now, config, "w1")
        assert run is not None
        for n in range(3):
            service.heartbeat(
                session, now, config, run.id, "w1", progress=0.5, message="half",
                log=[f"line {n}"],
            )  # fmt: skip
        service.finish(session, now, run.id, "w1", outcome)
        return run.id


def test_a_run_that_waits_takes_a_second_request_in(server: httpx.Client) -> None:
    assert "Queued run" in loupe(server, "run", "queue", LINE).stdout
    assert "waits already; it takes this in" in loupe(server, "run", "queue", LINE).stdout
    (run,) = json.loads(loupe(server, "run", "list", "--json").stdout)
    (cause,) = run["causes"]
    assert (cause["kind"], cause["by"], cause["times"]) == ("command line", "ann", 2)
    shown = loupe(server, "run", "show", run["id"]).stdout
    assert "command line, by ann" in shown
    assert "2 times" in shown


def test_a_followed_run_is_told_to_its_end(
    server: httpx.Client, services: Services, clock: ManualClock
) -> None:
    loupe(server, "run", "queue", LINE)
    run = finish(services, clock, service.Outcome(True, "b" * 64, {}, {}, ""))
    followed = loupe(server, "run", "follow", run)
    assert followed.exit_code == 0, followed.output
    assert [word in followed.stdout for word in ("line 0", "line 2", "succeeded")] == [True] * 3


def test_following_a_run_that_fails_is_an_error_that_says_why(
    server: httpx.Client, services: Services, clock: ManualClock
) -> None:
    loupe(server, "run", "queue", LINE)
    run = finish(services, clock, service.Outcome(False, None, {}, {}, "out of memory"))
    followed = loupe(server, "run", "follow", run)
    assert isinstance(followed.exception, LoupeError)
    assert str(followed.exception) == f"run {run} failed: out of memory"


def test_what_starts_by_itself_is_listed(server: httpx.Client) -> None:
    assert "every 6h" in loupe(server, "run", "outlook").stdout
    (line,) = json.loads(loupe(server, "run", "outlook", "--json").stdout)
    assert (line["line"], line["new_labels"], line["schedule"]) == (LINE, 0, "every 6h")


def test_a_version_is_shown_with_its_counts(server: httpx.Client) -> None:
    (row,) = json.loads(loupe(server, "dataset", "list", "--json").stdout)
    shown = loupe(server, "dataset", "show", row["digest"][:10]).stdout
    assert row["digest"] in shown
    assert "class good" in shown
    assert "light low" in shown
    missing = loupe(server, "dataset", "show", "f" * 10)
    assert isinstance(missing.exception, LoupeError)


def test_a_schedule_that_is_none_is_refused_with_the_line(
    server: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("line")
    (folder / "line.toml").write_text(f'[line]\nname = "{LINE}"\n')
    (folder / "policy.json").write_text('{"train_schedule": "every night"}')
    refused = loupe(
        server, "line", "add", LINE, "--config", str(folder / "line.toml"), "--policy",
        str(folder / "policy.json"),
    )  # fmt: skip
    assert "daily HH:MM" in str(refused.exception)
