"""The HTTP API: problem details, guards, every route of the core."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx
import pytest

from fleet_contract.blocks import sha256
from fleet_contract.clock import ManualClock
from fleet_contract.messages import Command, Stream
from fleet_server.app import create_app
from fleet_server.bus import Bus, BusEvent
from fleet_server.config import LimitsConfig
from fleet_server.drift.models import Baseline, Incident
from fleet_server.http import PROBLEM
from fleet_server.labels.service import add_sample
from fleet_server.registry.service import add_device
from fleet_server.services import Services
from fleet_server.telemetry.service import store
from tests.support.http import serve
from tests.support.recorder import Recorder
from tests.support.telemetry import envelope, event, parts, png, record, sample, window


@pytest.fixture
def api(services: Services) -> Iterator[httpx.Client]:
    """The API of a server with one device that has told a little of everything."""
    with services.database.write() as session:
        add_device(session, 0.0, "test", "s1", "PEM", line="watch-case")
        for stream, sent in (
            (Stream.WINDOWS, window()), (Stream.PARTS, parts(1, 8)), (Stream.EVENTS, event()),
        ):  # fmt: skip
            store(session, envelope("s1", stream, [record(1, sent)]), 1.0)
        data = png()
        services.store.put(data)
        body = sample("a", data)
        add_sample(session, "s1", "spool-1", record(1, body), body, 1.0, None)
    with serve(create_app(services)) as client:
        yield client


def problem(answer: httpx.Response) -> dict[str, object]:
    """The problem details of an answer, checked for their form."""
    assert answer.headers["content-type"] == PROBLEM
    found: dict[str, object] = answer.json()
    assert found.keys() == {"type", "title", "status", "detail"}
    assert found["status"] == answer.status_code
    return found


READS = (
    "health", "devices", "devices/s1", "lines", "windows", "parts?device=s1", "parts/summary",
    "events", "samples", "samples/a", "datasets", "runs", "runs/outlook", "incidents", "baselines", "audit",
    "audit/verify", "trace/s1:spool-1:3",
)  # fmt: skip
ABSENT = (
    "devices/x", "lines/x", "samples/x", "samples/x/image", f"datasets/{'0' * 64}",
    f"blobs/{'0' * 64}", "blobs/..%2f..%2fserver.toml", "runs/x", "runs/x/logs", "incidents/9",
    "trace/s1:spool-1:9", "nothing",
)  # fmt: skip


def test_every_reading_route_answers_with_json(api: httpx.Client) -> None:
    answers = {path: api.get(path) for path in READS}
    assert {path: a.text for path, a in answers.items() if a.status_code != 200} == {}
    assert all(answer.json() is not None for answer in answers.values())


def test_what_is_not_there_is_a_problem_with_404(api: httpx.Client) -> None:
    assert {path: problem(api.get(path))["status"] for path in ABSENT} == dict.fromkeys(ABSENT, 404)


def test_numbers_of_parts_and_windows(api: httpx.Client) -> None:
    (summary,) = api.get("parts/summary", params={"device": "s1"}).json()
    assert (summary["first"], summary["last"], summary["counted"], summary["missing"]) == (
        1,
        8,
        8,
        0,
    )
    (shown,) = api.get("windows", params={"line": "watch-case"}).json()
    assert shown["features"]["mean"] == pytest.approx(120, abs=0.01)
    assert shown["parts"] == 8


def test_a_sample_is_shown_and_labelled(api: httpx.Client) -> None:
    image = api.get("samples/a/image")
    assert (image.content, image.headers["content-type"]) == (png(), "image/png")
    assert image.headers["x-content-type-options"] == "nosniff"
    assert [s["sample_id"] for s in api.get("samples?state=unlabelled").json()] == ["a"]
    assert api.post("samples/a/label", json={"label": "defect", "by": "ann"}).status_code == 200
    assert api.get("samples?state=unlabelled").json() == []
    wrong = problem(api.post("samples/a/label", json={"label": "A scratch!"}))
    assert "lower-case" in str(wrong["detail"])


def test_blobs_are_taken_by_their_digest_alone(api: httpx.Client, services: Services) -> None:
    data = b"some bytes"
    address = f"blobs/{sha256(data)}"
    assert api.head(address).status_code == 404
    assert problem(api.put(address, content=b"others"))["status"] == 422
    for _ in range(2):
        assert api.put(address, content=data).status_code == 204
    assert api.head(address).status_code == 200
    assert api.get(address).content == data
    assert list((services.store.folder / "incoming").iterdir()) == []


def test_a_body_above_the_limit_is_refused_with_or_without_a_length(services: Services) -> None:
    limits = LimitsConfig.model_validate({"blob": "1kB"})
    config = services.config.model_copy(update={"limits": limits})
    app = create_app(replace(services, config=config))
    data = b"x" * 5000
    with serve(app) as client:
        address = f"blobs/{sha256(data)}"
        assert problem(client.put(address, content=data))["status"] == 413
        pieces = (data[n : n + 500] for n in range(0, 5000, 500))
        assert problem(client.put(address, content=pieces))["status"] == 413
    assert list((services.store.folder / "incoming").iterdir()) == []


def test_a_dataset_needs_its_files(api: httpx.Client) -> None:
    api.put("lines/watch-case", json={"training_config": "[line]\n"})
    item = {"sha256": "0" * 64, "label": "good", "group": "p", "split": "train"}
    version = {"line": "watch-case", "reason": "t", "channels": 3, "items": [item]}
    assert "not in the store" in str(problem(api.post("datasets", json=version))["detail"])
    item["sha256"] = api.get("samples/a").json()["blob"]
    added = api.post("datasets", json=version)
    assert added.status_code == 201
    digest = added.json()["digest"]
    assert api.get(f"datasets/{digest}").json()["items"][0]["sha256"] == item["sha256"]
    assert api.get("lines/watch-case").json()["dataset"] == digest


def test_holdout_images_never_become_training_images(api: httpx.Client) -> None:
    api.put("lines/watch-case", json={"training_config": "[line]\n"})
    blob = api.get("samples/a").json()["blob"]
    item = {"sha256": blob, "label": "good", "group": "p", "split": "holdout"}
    version = {"line": "watch-case", "reason": "t", "channels": 3, "items": [item]}
    parent = api.post("datasets", json=version).json()["digest"]
    leaked = {**version, "parent": parent, "items": [{**item, "split": "train"}]}
    assert problem(api.post("datasets", json=leaked))["status"] == 409
    thawed = {**leaked, "thawed": "the line was rebuilt"}
    assert api.post("datasets", json=thawed).status_code == 201


def test_a_run_goes_from_queue_to_end(api: httpx.Client) -> None:
    blob = api.get("samples/a").json()["blob"]
    api.put("lines/watch-case", json={"training_config": "[line]\n"})
    assert api.post("runs/lease", json={"worker": "w"}).status_code == 204
    assert problem(api.post("runs", json={"line": "watch-case"}))["status"] == 409
    item = {"sha256": blob, "label": "good", "group": "p", "split": "train"}
    version = {"line": "watch-case", "reason": "t", "channels": 3, "items": [item]}
    api.post("datasets", json=version)
    run = api.post("runs", json={"line": "watch-case"}).json()["id"]
    lease = api.post("runs/lease", json={"worker": "w"}).json()
    assert lease.keys() == {
        "id", "line", "dataset", "champion", "incident", "config", "epoch", "checkpoint",
        "checkpoint_limit", "lease_s",
    }  # fmt: skip
    beat = {"worker": "w", "progress": 0.5, "message": "half", "log": ["a line"]}
    assert api.post(f"runs/{run}/heartbeat", json=beat).json() == {"cancelled": False}
    assert problem(api.post(f"runs/{run}/heartbeat", json={"worker": "x"}))["status"] == 409
    end = {"worker": "w", "outcome": "succeeded", "bundle": "b" * 64, "comparison": {"a": 1}}
    assert api.post(f"runs/{run}/finish", json=end).json()["state"] == "succeeded"
    assert api.get(f"runs/{run}/logs").json()[-1]["text"] == "a line"


def test_a_command_is_published_and_audited(api: httpx.Client, services: Services) -> None:
    sent = api.post("devices/s1/commands", json={"op": "sample", "count": 5, "by": "ann"})
    assert sent.status_code == 202
    publisher = services.publisher
    assert isinstance(publisher, Recorder)
    (command,) = [Command.decode(payload) for payload in publisher.on("s1/down/cmd")]
    assert (command.id, command.op, command.count) == (sent.json()["id"], "sample", 5)
    latest = api.get("audit").json()[0]
    assert (latest["actor"], latest["action"], latest["subject"]) == ("ann", "command.sample", "s1")


def test_baselines_and_incidents_take_a_persons_word(api: httpx.Client, services: Services) -> None:
    place = {"device": "s1", "line": "watch-case", "camera": "cam1"}
    with services.database.write() as session:
        proposed = {**place, "windows": 30, "start_s": 0, "end_s": 60, "proposed_at": 60}
        session.add(Baseline.model_validate(proposed))
        opened = {**place, "cause": "light", "opened_at": 70, "parts_until_alarm": 40}
        session.add(Incident.model_validate(opened))
    assert api.post("baselines/1/accept", json={"by": "ann"}).json()["accepted_by"] == "ann"
    assert problem(api.post("baselines/1/accept", json={}))["status"] == 409
    assert [i["id"] for i in api.get("incidents?state=open").json()] == [1]
    assert api.post("incidents/1/close", json={"note": "lamp"}).json()["note"] == "lamp"
    assert api.get("incidents?state=open").json() == []
    assert api.post("baselines/renew", json=place).status_code == 202
    assert api.get("baselines").json()[0]["state"] == "retired"


def test_writes_of_other_sites_pages_are_refused(api: httpx.Client) -> None:
    own = f"http://127.0.0.1:{api.base_url.port}"
    expected: list[tuple[dict[str, str], int]] = [
        ({}, 204),
        ({"origin": own, "sec-fetch-site": "same-origin"}, 204),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 400),
    ]
    for headers, status in expected:
        answer = api.post("runs/lease", json={"worker": "w"}, headers=headers)
        assert answer.status_code == status, headers


def test_an_invalid_request_names_the_field(api: httpx.Client) -> None:
    found = problem(api.post("runs/lease", json={"worker": ""}))
    assert (found["status"], str(found["detail"]).split(":")[0]) == (422, "body.worker")


def test_the_openapi_document_is_there_and_pages_from_elsewhere_are_not(api: httpx.Client) -> None:
    root = api.base_url
    document = api.get(root.join("/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), (method, path)
            assert PROBLEM in operation["responses"]["default"]["content"], (method, path)
    assert api.get(root.join("/docs")).status_code == 404
    assert api.get(root.join("/redoc")).status_code == 404


def test_a_bug_is_a_problem_and_no_traceback(services: Services, clock: ManualClock) -> None:
    app = create_app(services)

    @app.get("/api/v1/bug")
    def bug() -> None:
        """Divides."""
        clock.advance(1 / 0)

    with serve(app) as client:
        found = problem(client.get("bug"))
    assert found["status"] == 500
    assert "ZeroDivision" not in json.dumps(found)


async def _collect(events: AsyncIterator[BusEvent]) -> list[BusEvent]:
    return [event async for event in events]


async def _first(events: AsyncIterator[BusEvent]) -> BusEvent:
    return await anext(events)


def test_the_bus_tells_followers_from_any_thread_and_ends() -> None:
    bus = Bus()

    async def follow() -> list[BusEvent]:
        following = asyncio.create_task(_collect(bus.subscribe()))
        await asyncio.sleep(0)

        def tell() -> None:
            for n in range(3):
                bus.publish("parts", {"n": n})
            bus.close()

        thread = threading.Thread(target=tell)
        thread.start()
        found = await following
        thread.join()
        return found

    assert [e.data["n"] for e in asyncio.run(follow())] == [0, 1, 2]


def test_a_follower_that_is_too_slow_is_told_that_it_lost_hints() -> None:
    bus = Bus()

    async def follow() -> list[BusEvent]:
        events = bus.subscribe()
        first = asyncio.create_task(_first(events))
        await asyncio.sleep(0)
        for n in range(1000):
            bus.publish("parts", {"n": n})
        found = [await first]
        await asyncio.sleep(0)
        bus.close()
        return [*found, *await _collect(events)]

    topics = [e.topic for e in asyncio.run(follow())]
    assert "lost" in topics
    assert len(topics) < 600
