"""Images that another program sends: each is a part, or is refused with a reason, never both."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edge_agent.source.numbers import Numbers
from edge_agent.source.push import PushSource
from fleet_contract.clock import SystemClock
from fleet_contract.errors import ResourceError
from fleet_contract.inference.preprocess import encode_png
from tests.support.tiny_bundle import solid
from tests.support.wait import eventually

PNG = encode_png(solid(40))


def made(port: int = 0, **changes: Any) -> PushSource:
    settings: dict[str, Any] = {
        "channels": 3, "depth": 8, "queue": 3, "max_image": 100_000, "numbers": Numbers(100), **changes,
    }  # fmt: skip
    return PushSource("127.0.0.1", port, SystemClock(), **settings)


@pytest.fixture
def source() -> Iterator[PushSource]:
    source = made()
    source.start(6)
    yield source
    source.close()


def post(
    source: PushSource, body: bytes = PNG, path: str = "/parts", method: str = "POST",
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", source.port, timeout=10)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = json.loads(answer.read() or b"{}")
    connection.close()
    return answer.status, content


def test_an_image_is_a_part_and_the_answer_its_number(source: PushSource) -> None:
    headers = {"X-Part-Id": "SN-1", "X-Recipe": "steel"}
    assert post(source, headers=headers) == (202, {"part": 107})
    assert post(source) == (202, {"part": 108})
    first, second = source.next(1), source.next(1)
    assert first is not None
    assert second is not None
    assert first.frame is not None
    assert (first.frame == solid(40)).all()
    assert (first.trigger, first.external_id, first.recipe) == (7, "SN-1", "steel")
    assert (second.trigger, second.external_id, second.recipe) == (8, "", "")
    assert source.next(0.01) is None


def test_one_connection_may_carry_many_parts(source: PushSource) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", source.port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/parts", PNG)
        assert connection.getresponse().read().startswith(b'{"part"')
    connection.close()


def test_more_than_may_wait_are_refused_until_there_is_room(source: PushSource) -> None:
    assert [post(source)[0] for _ in range(4)] == [202, 202, 202, 503]
    assert source.next(1) is not None
    assert post(source) == (202, {"part": 110})


@pytest.mark.parametrize(
    ("wrong", "status", "hint"),
    [
        ({"body": b"not an image"}, 415, "PNG, JPEG"),
        ({"body": encode_png(np.zeros((9, 9), np.uint16))}, 415, "8 bits"),
        ({"body": b""}, 415, "0 bytes"),
        ({"body": b"x" * 100_001}, 413, "at most 100000"),
        ({"body": b"x" * 5_000_000}, 413, "at most 100000"),
        ({"path": "/part"}, 404, "POST /parts"),
        ({"method": "GET"}, 405, "POST /parts"),
        ({"headers": {"X-Part-Id": "x" * 81}}, 400, "80 printable"),
        ({"headers": {"X-Recipe": "a\tb"}}, 400, "printable"),
        ({"headers": {"Origin": "http://page.example"}}, 403, "browser"),
        ({"headers": {"Content-Length": "-1"}}, 411, "Content-Length"),
    ],
)
def test_what_is_no_part_is_refused_with_its_reason(
    source: PushSource, wrong: dict[str, Any], status: int, hint: str
) -> None:
    found, content = post(source, **wrong)
    assert (found, hint in content["error"]) == (status, True), content
    assert source.next(0.01) is None
    assert post(source) == (202, {"part": 107}), "no number was lost on it"


def test_parts_that_are_sent_at_once_get_a_number_each(source: PushSource) -> None:
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda: numbers.append(post(source)[1]["part"])) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [107, 108, 109]


def test_closing_ends_clients_that_say_nothing_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    source = made()
    source.start(None)
    with socket.create_connection(("127.0.0.1", source.port)) as idle:
        idle.sendall(b"POST /parts HTTP/1.1\r\n")
        eventually(lambda: len(threading.enumerate()) == len(before) + 2, 10, "it is served")
        source.close()
        assert set(threading.enumerate()) <= before
        assert idle.recv(1) == b""


def test_a_port_that_is_taken_is_said(source: PushSource) -> None:
    with pytest.raises(ResourceError, match=str(source.port)):
        made(source.port)
