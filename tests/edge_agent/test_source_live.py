"""Live cameras, each against its real peer: one suite over all of them."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.source.base import INCOMPLETE, CameraLost, Captured, FrameCounts, Source
from edge_agent.source.camera import Grab
from edge_agent.source.live import LiveSource
from edge_agent.source.make import make_source
from edge_agent.source.numbers import Numbers
from edge_agent.source.parts import FreeRun
from edge_agent.source.settings import GigeSource, LiveConfig, MjpegSource, RtspSource
from edge_agent.source.supervised import Supervised
from edge_agent.trigger.settings import FreeTrigger
from fleet_contract.clock import SystemClock
from fleet_contract.inference.preprocess import Frame
from tests.support.peers import Peer, gige_peer, mjpeg_peer, rtsp_peer
from tests.support.wait import eventually

MAX_AGE: Any = "800ms"


@dataclass
class Stage:
    """A source before a peer that is not started yet."""

    peer: Peer
    source: Source
    counts: FrameCounts
    grey: bool


def before_a_peer(kind: str, folder: Path) -> tuple[Peer, LiveConfig]:
    if kind == "gige":
        peer, address = gige_peer()
        return peer, GigeSource(kind="gige", address=address, max_age=MAX_AGE)
    if kind == "rtsp":
        peer, url = rtsp_peer()
        return peer, RtspSource(kind="rtsp", url=url, max_age=MAX_AGE)
    words = ["nolength"] if kind == "mjpeg without lengths" else []
    peer, url = mjpeg_peer(folder, *words)
    return peer, MjpegSource(kind="mjpeg", url=url, max_age=MAX_AGE)


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    peer, config = before_a_peer(request.param, tmp_path)
    counts = FrameCounts()
    source = make_source(config, FreeTrigger(), SystemClock(), counts, lambda *_: None)
    yield Stage(peer, source, counts, isinstance(config, GigeSource))
    source.close()
    peer.kill()


def take(source: Source, count: int) -> list[Captured]:
    """The next parts; fails where the camera is lost."""
    parts: list[Captured] = []

    def enough() -> bool:
        part = source.next(0.1)
        parts.extend([part] if part else [])
        return len(parts) >= count

    eventually(enough, 20, f"{count} parts")
    return parts


def until_lost(source: Source) -> str:
    """Takes what still comes, until the camera is lost; why it is."""
    with pytest.raises(CameraLost) as caught:
        take(source, 10_000)
    return str(caught.value)


def until_back(source: Source) -> Captured:
    """The first part after a loss that has a picture: of one that the loss fell into some is missing."""

    def part() -> Captured | None:
        try:
            return source.next(0.1)
        except CameraLost:
            return None

    deadline = time.monotonic() + 20
    while (captured := part()) is None or captured.reason == INCOMPLETE:
        assert time.monotonic() < deadline, "the camera does not come back"
    return captured


class Hanging:
    """A camera whose library does not come back from its second frame until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.grabs = 0

    def open(self) -> None:
        """At once."""

    def grab(self) -> Grab:
        self.grabs += 1
        if self.grabs == 2:
            self.released.wait()
        return Grab(time.monotonic())

    def retrieve(self) -> Frame:
        return np.full((2, 2), self.grabs, np.uint8)

    def close(self) -> None:
        """Nothing is held."""


def test_what_a_reader_brings_that_was_given_up_is_not_taken_and_few_may_hang() -> None:
    cameras: list[Hanging] = []

    def connect() -> Hanging:
        cameras.append(Hanging())
        return cameras[-1]

    numbers = Numbers()
    parts = FreeRun(9, FrameCounts(), numbers, None)
    supervised = Supervised(connect, parts, SystemClock(), max_age_s=0.1)
    source = LiveSource([supervised], numbers, None, SystemClock())
    source.start(None)
    shown: list[int] = []
    deadline = time.monotonic() + 20
    while len(shown) < 4 or len(cameras) < 4:
        assert time.monotonic() < deadline
        with contextlib.suppress(CameraLost):
            part = source.next(0.05)
            shown += [int(part.frame.max())] if part and part.frame is not None else []
    for _ in range(10):
        until_lost(source)
    assert (shown, len(cameras)) == ([1, 1, 1, 1], 4), "no fifth connection while four hang"
    for camera in cameras:
        camera.released.set()
    eventually(lambda: all(camera.grabs == 2 for camera in cameras), 5, "they come back")
    assert until_back(source).frame.max() == 1, "the frame of a fifth one, not of those four"  # type: ignore[union-attr]
    source.close()
    cameras[-1].released.set()


@pytest.mark.parametrize("stage", ["mjpeg", "mjpeg without lengths", "rtsp", "gige"], indirect=True)
class TestEveryLiveCamera:
    def test_numbers_go_on_and_survive_freezing_and_dying(self, stage: Stage) -> None:
        peer, source = stage.peer, stage.source
        peer.start()
        source.start(41)
        parts = take(source, 5)
        peer.freeze()
        assert "no new frame" in until_lost(source)
        peer.thaw()
        back = until_back(source)
        peer.kill()
        until_lost(source)
        peer.start()
        again = until_back(source)
        assert [part.trigger for part in parts] == [42, 43, 44, 45, 46]
        assert back.trigger < again.trigger
        for part in (*parts, back, again):
            assert part.frame is not None
            assert part.frame.shape[2] == 3
            red, green, blue = part.frame[40, 60]
            assert stage.grey or red > 150 > 60 > max(green, blue)

    def test_a_camera_that_is_away_is_lost_and_its_password_is_not_told(self, stage: Stage) -> None:
        stage.source.start(None)
        told = until_lost(stage.source)
        assert "127.0.0.1" in told
        assert "secret" not in told

    def test_closing_leaves_no_thread(self, stage: Stage) -> None:
        before = set(threading.enumerate())
        stage.peer.start()
        stage.source.start(None)
        take(stage.source, 1)
        stage.source.close()
        assert set(threading.enumerate()) <= before

    def test_frames_that_nobody_takes_are_dropped_and_counted(self, stage: Stage) -> None:
        stage.peer.start()
        stage.source.start(None)
        first = take(stage.source, 1)[0]
        eventually(lambda: stage.counts.dropped >= 5, 20, "frames are dropped")
        late = take(stage.source, 1)[0]
        assert (first.trigger, late.trigger) == (1, 2)
        assert late.arrival_s > first.arrival_s
