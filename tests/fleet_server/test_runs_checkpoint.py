"""Checkpoints over HTTP: only from and for who has the lease, bounded, and forgotten in the end."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from fleet_contract.blocks import sha256
from fleet_contract.clock import ManualClock
from fleet_server.app import create_app
from fleet_server.config import LimitsConfig
from fleet_server.registry.models import Line
from fleet_server.runs.checkpoints import Sweeper, room
from fleet_server.services import Services
from tests.support.http import serve


@pytest.fixture
def api(services: Services) -> Iterator[httpx.Client]:
    """A server with one line; checkpoints of at most 100 kB."""
    with services.database.write() as session:
        session.add(Line(name="line", training_config="[line]\n", dataset="d" * 64))
    limits = LimitsConfig.model_validate({"checkpoint": "100kB"})
    config = services.config.model_copy(update={"limits": limits})
    with serve(create_app(replace(services, config=config))) as client:
        yield client


def queue(api: httpx.Client) -> str:
    """A run that waits; returns its id."""
    run: str = api.post("runs", json={"line": "line"}).json()["id"]
    return run


def lease(api: httpx.Client, worker: str) -> dict[str, Any]:
    """What a worker is given."""
    answer = api.post("runs/lease", json={"worker": worker})
    assert answer.status_code == 200, answer.text
    given: dict[str, Any] = answer.json()
    return given


def put(api: httpx.Client, run: str, worker: str, data: bytes) -> int:
    """The status of sending a checkpoint."""
    answer = api.put(f"runs/{run}/checkpoint", params={"worker": worker}, content=data)
    return answer.status_code


def get(api: httpx.Client, run: str, worker: str) -> httpx.Response:
    """The checkpoint, asked for."""
    return api.get(f"runs/{run}/checkpoint", params={"worker": worker})


def left(services: Services) -> set[str]:
    """Digests of all checkpoints that are kept."""
    return set(room(services.store).digests())


def test_the_next_worker_gets_what_the_lost_one_left(api: httpx.Client, clock: ManualClock) -> None:
    run = queue(api)
    assert lease(api, "w1")["checkpoint"] is None
    assert get(api, run, "w1").status_code == 404
    assert put(api, run, "w1", b"step 10") == 204
    assert put(api, run, "w1", b"step 20") == 204
    clock.advance(31)
    assert lease(api, "w2")["checkpoint"] == sha256(b"step 20")
    assert get(api, run, "w2").content == b"step 20"
    shown = api.get(f"runs/{run}").json()
    assert (shown["worker"], shown["checkpoint_bytes"]) == ("w2", 7)
    texts = [line["text"] for line in api.get(f"runs/{run}/logs").json()]
    assert "worker w2 goes on from the last checkpoint" in texts


def test_only_the_holder_of_the_lease_leaves_or_gets_one(
    api: httpx.Client, clock: ManualClock, services: Services
) -> None:
    run = queue(api)
    assert put(api, run, "w1", b"too early") == 409
    lease(api, "w1")
    assert put(api, run, "w2", b"of another") == 409
    assert get(api, run, "w2").status_code == 409
    assert put(api, "nothing", "w1", b"of nothing") == 404
    assert put(api, run, "w1", b"mine") == 204
    clock.advance(31)
    lease(api, "w2")
    assert put(api, run, "w1", b"too late") == 409
    assert get(api, run, "w2").content == b"mine"
    assert left(services) == {sha256(b"mine")}


def test_a_checkpoint_above_the_limit_is_refused_and_leaves_nothing(
    api: httpx.Client, services: Services
) -> None:
    run = queue(api)
    lease(api, "w1")
    assert put(api, run, "w1", b"x" * 100_001) == 413
    assert api.get(f"runs/{run}").json()["checkpoint"] is None
    assert left(services) == set()
    assert put(api, run, "w1", b"x" * 100_000) == 204


def test_an_ended_run_has_no_checkpoint_and_a_retry_begins_at_the_start(api: httpx.Client) -> None:
    run = queue(api)
    lease(api, "w1")
    put(api, run, "w1", b"step 10")
    end = {"worker": "w1", "outcome": "failed", "error": "the loss is no number"}
    assert api.post(f"runs/{run}/finish", json=end).json()["checkpoint"] is None
    assert put(api, run, "w1", b"after the end") == 409
    api.post(f"runs/{run}/retry", json={})
    assert lease(api, "w1")["checkpoint"] is None


def test_a_run_that_is_given_back_is_gone_on_with(api: httpx.Client) -> None:
    run = queue(api)
    lease(api, "w1")
    put(api, run, "w1", b"step 10")
    assert api.post(f"runs/{run}/give-back", json={"worker": "w2"}).status_code == 409
    given = api.post(f"runs/{run}/give-back", json={"worker": "w1"}).json()
    assert (given["state"], given["worker"], given["attempts"]) == ("queued", None, 0)
    assert lease(api, "w2")["checkpoint"] == sha256(b"step 10")


def test_replaced_checkpoints_are_removed_and_named_ones_stay(
    api: httpx.Client, services: Services
) -> None:
    run, sweeper = queue(api), Sweeper(services.store)
    lease(api, "w1")
    put(api, run, "w1", b"step 10")
    put(api, run, "w1", b"step 20")
    removed = []
    for _ in range(3):
        with services.database.read() as session:
            removed.append(sweeper.sweep(session))
    # One that no run names may be on its way into a run: it is removed the second time.
    assert removed == [0, 1, 0]
    assert left(services) == {sha256(b"step 20")}
    assert get(api, run, "w1").content == b"step 20"
