"""Facts about the camera over HTTP, against real servers on free ports."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import httpx
import numpy as np
import pytest

from fleet_contract.errors import ConfigError, ResourceError
from hil.camera.bench import ROUTES
from hil.camera.camera import CameraSpec
from hil.camera.client import Bench
from hil.camera.server import Ports, serving
from hil.render import PartSpec, render_part
from hil.render.spec import Image

SPEC = CameraSpec(seed=3, rate_hz=100, defect_rate=0.5, buffer=8, size=64)


@pytest.fixture
def ports() -> Iterator[Ports]:
    with serving(SPEC) as ports:
        yield ports


@pytest.fixture
def bench(ports: Ports) -> Iterator[Bench]:
    with Bench(ports.bench_url) as bench:
        yield bench


@pytest.fixture
def public(ports: Ports) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ports.url, trust_env=False, timeout=10) as client:
        yield client


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold"
        time.sleep(0.01)


def triggered(bench: Bench, count: int) -> None:
    until(lambda: bench.counters()["newest"] >= count)


def decoded(response: httpx.Response) -> Image:
    bgr = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.asarray(bgr[..., ::-1], dtype=np.uint8)


def test_numbers_begin_at_one_and_have_no_gap_for_a_client_that_keeps_up() -> None:
    numbers = [0]
    with (
        serving(CameraSpec(rate_hz=100, size=64, buffer=2000)) as ports,
        httpx.Client(base_url=ports.url, trust_env=False) as public,
    ):
        for _ in range(25):
            response = public.get("/frame", params={"after": numbers[-1]})
            assert response.status_code == 200
            numbers.append(int(response.headers["X-Trigger"]))
    assert numbers == list(range(26))


def test_a_frame_is_the_rendered_part_in_rgb(public: httpx.Client, bench: Bench) -> None:
    first = bench.set(noise=0)
    response = public.get("/frame", params={"after": first})
    number = int(response.headers["X-Trigger"])
    spec = PartSpec(SPEC.seed, number, SPEC.defect_rate)
    assert response.headers["Content-Type"] == "image/png"
    assert np.array_equal(decoded(response), render_part(spec, SPEC.size).image)


def test_a_client_that_is_too_slow_sees_a_gap(public: httpx.Client, bench: Bench) -> None:
    triggered(bench, 20)
    response = public.get("/frame", params={"after": 1})
    number = int(response.headers["X-Trigger"])
    assert number > 2
    assert number == int(response.headers["X-Oldest"])
    assert int(response.headers["X-Newest"]) - number == SPEC.buffer - 1


@pytest.mark.parametrize("after", ["latest", "-1"])
def test_latest_waits_for_a_frame_that_was_not_there_before(
    public: httpx.Client, bench: Bench, after: str
) -> None:
    triggered(bench, 5)
    before = bench.counters()["newest"]
    response = public.get("/frame", params={"after": after})
    assert int(response.headers["X-Trigger"]) > before


def test_no_new_frame_is_an_empty_answer_with_the_span(public: httpx.Client, bench: Bench) -> None:
    triggered(bench, 10)
    bench.pause()
    until(lambda: bench.counters()["frames"] == bench.counters()["triggers"])
    newest = bench.counters()["triggers"]
    until(lambda: bench.counters()["newest"] == newest)
    response = public.get("/frame", params={"after": newest})
    assert (response.status_code, response.content) == (204, b"")
    assert int(response.headers["X-Newest"]) == newest


def test_a_pause_stops_the_numbers_and_they_go_on_where_they_were(bench: Bench) -> None:
    bench.pause()
    count = bench.counters()["triggers"]
    assert bench.counters()["triggers"] == count
    assert bench.counters()["paused"]
    bench.resume()
    triggered(bench, count + 3)
    assert [row.trigger for row in bench.truth(1, count + 3)] == list(range(1, count + 4))


def test_the_line_ends_after_its_parts_and_the_bench_still_answers() -> None:
    with serving(CameraSpec(rate_hz=200, size=64, parts=6)) as ports, Bench(ports.bench_url) as b:
        until(lambda: b.counters()["newest"] == 6)
        assert b.counters()["ended"]
        assert len(b.truth(1, 100)) == 6


def test_truth_is_what_was_rendered(bench: Bench) -> None:
    triggered(bench, 12)
    for row in bench.truth(3, 12):
        part = render_part(PartSpec(SPEC.seed, row.trigger, SPEC.defect_rate), SPEC.size)
        assert (row.defective, row.defects) == (part.truth.defective, part.truth.defects)
        assert np.array_equal(bench.mask(row.trigger), part.mask)


def test_truth_of_a_frame_is_there_as_soon_as_the_frame_is(
    public: httpx.Client, bench: Bench
) -> None:
    number = int(public.get("/frame", params={"after": "latest"}).headers["X-Trigger"])
    assert [row.trigger for row in bench.truth(number, number)] == [number]


def test_the_mask_of_a_past_trigger_keeps_the_geometry_of_its_frame(bench: Bench) -> None:
    first = bench.set(shift_x_px=5)
    triggered(bench, first + 10)
    row = next(row for row in bench.truth(first, first + 10) if row.defective)
    upright = render_part(PartSpec(SPEC.seed, row.trigger, SPEC.defect_rate), SPEC.size).mask
    before = bench.mask(row.trigger)
    assert np.array_equal(before[:, 5:], upright[:, :-5])
    bench.set(shift_x_px=-9)
    assert np.array_equal(bench.mask(row.trigger), before)


def test_a_mask_of_a_part_that_has_not_come_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="no part with trigger number 100000"):
        bench.mask(100_000)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_nothing_of_the_bench_answers_on_the_public_port(public: httpx.Client, method: str) -> None:
    query = {"from": 1, "to": 9, "trigger": 1}
    for path in {path for _, path in ROUTES}:
        response = public.request(method, path, params=query)
        assert response.status_code in (404, 501)
        assert "defect" not in response.text


def test_no_answer_of_the_public_port_tells_the_truth(public: httpx.Client, bench: Bench) -> None:
    triggered(bench, 8)
    info = public.get("/info").json()
    assert set(info) == {
        *("camera", "width", "height", "channels", "rate_hz", "oldest", "newest", "controls"),
    }
    assert set(info["controls"]) == {"exposure_us", "gain_db"}
    names = {name.lower() for name in public.get("/frame", params={"after": 0}).headers}
    assert {name for name in names if name.startswith("x-")} == {
        *("x-camera", "x-oldest", "x-newest", "x-trigger"),
        *("x-captured-monotonic-ns", "x-part-id"),
    }


def test_a_control_changes_the_frames_from_its_trigger_on(
    public: httpx.Client, bench: Bench
) -> None:
    bright = decoded(public.get("/frame", params={"after": "latest"})).mean()
    first = bench.set(light_level=0.4)
    dim = decoded(public.get("/frame", params={"after": first - 1}))
    assert dim.mean() < 0.6 * bright
    assert bench.controls()["light_level"] == 0.4


def test_a_ramp_comes_to_its_end(bench: Bench) -> None:
    first = bench.ramp("light_level", 0.5, 0.2)
    triggered(bench, first + 21)
    assert bench.controls()["light_level"] == 0.5


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("PUT", "/controls", '{"light_level": 3}', "from 0 to 2"),
        ("PUT", "/controls", '{"lamp": 1}', "unknown camera control 'lamp'"),
        ("PUT", "/controls", "[]", "not a JSON object"),
        ("PUT", "/controls", "{", "not JSON"),
        ("POST", "/ramp", '{"control": "dirt", "to": 1}', "missing or unknown: seconds"),
        ("GET", "/truth?from=1", "", "'to' is wrong"),
    ],
)
def test_a_wrong_request_is_422_and_says_what_is_wrong(
    ports: Ports, method: str, path: str, body: str, said: str
) -> None:
    response = httpx.request(method, ports.bench_url + path, content=body, trust_env=False)
    assert response.status_code == 422
    assert said in json.loads(response.text)["error"]


def test_a_wrong_frame_number_is_422(public: httpx.Client) -> None:
    response = public.get("/frame", params={"after": "soon"})
    assert response.status_code == 422
    assert "whole number" in response.json()["error"]


def test_a_frozen_camera_takes_the_request_and_answers_when_it_thaws(
    public: httpx.Client, bench: Bench
) -> None:
    bench.freeze()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(public.get, "/frame", params={"after": 0})
        count = bench.counters()["newest"]
        triggered(bench, count + 5)
        assert not waiting.done()
        bench.unfreeze()
        assert waiting.result(timeout=10).status_code == 200


def test_many_frames_come_over_one_connection(public: httpx.Client) -> None:
    streams = {
        id(public.get("/frame", params={"after": n}).extensions["network_stream"]) for n in range(5)
    }
    assert len(streams) == 1


def test_a_bench_that_is_gone_is_an_error_that_names_it() -> None:
    with serving(SPEC) as ports:
        url = ports.bench_url
    with Bench(url) as bench, pytest.raises(ResourceError, match=url):
        bench.counters()
