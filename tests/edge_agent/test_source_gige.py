"""GigE Vision against a real peer on loopback: lost packets, controls, the camera's own trigger."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_agent.source.base import CameraLost, Captured, FrameCounts, Source
from edge_agent.source.camera import in_colours
from edge_agent.source.gige import BAYER, BGR8, MONO, RGB8, missed_frames, to_frame
from edge_agent.source.make import make_source
from edge_agent.source.settings import ControlsConfig, GigeSource
from edge_agent.trigger.settings import CameraTrigger, FreeTrigger, TriggerConfig
from fleet_contract.clock import SystemClock
from fleet_contract.errors import DataError
from tests.support.peers import gige_peer, running

QUICK: Any = "300ms"
MILLISECONDS: Any = "4ms"


def made(
    counts: FrameCounts, told: list[str], trigger: TriggerConfig | None = None, **settings: Any
) -> Source:
    config = GigeSource(kind="gige", address="127.0.0.1", **settings)
    source = make_source(
        config, trigger or FreeTrigger(), SystemClock(), counts,
        lambda *words: told.append(words[1]),
    )  # fmt: skip
    source.start(None)
    return source


def until(source: Source, wanted: Callable[[Captured], bool]) -> list[Captured]:
    """All parts until one is as wanted."""
    parts: list[Captured] = []
    deadline = time.monotonic() + 20
    while not parts or not wanted(parts[-1]):
        assert time.monotonic() < deadline
        part = source.next(0.1)
        parts += [part] if part else []
    return parts


def test_frames_that_lost_packets_are_counted_and_are_parts_without_a_picture() -> None:
    counts = FrameCounts()
    peer, _ = gige_peer("-r", "5")
    with running(peer):
        source = made(counts, [], queue=100)
        parts = until(source, lambda part: part.reason == "frame_incomplete")
        source.close()
    assert parts[-1].frame is None
    assert counts.incomplete >= 1
    assert [part.trigger for part in parts] == list(range(1, len(parts) + 1))


def test_format_region_and_controls_are_set_and_what_differs_is_told() -> None:
    told: list[str] = []
    peer, _ = gige_peer()
    controls = ControlsConfig(exposure=MILLISECONDS, gain=3.0, white_balance=4600)
    with running(peer):
        source = made(
            FrameCounts(), told, pixel_format="Mono8", region=(0, 0, 320, 240), channels=1,
            rate="50Hz", controls=controls,
        )  # fmt: skip
        (*_, part) = until(source, lambda part: part.frame is not None)
        source.close()
    assert part.frame is not None
    assert part.frame.shape == (240, 320)
    (text,) = told
    assert "white_balance cannot be set" in text
    assert "exposure is" not in text
    assert "gain is" not in text


def test_a_camera_that_waits_for_its_input_is_not_lost_but_one_that_froze_is() -> None:
    peer, _ = gige_peer()
    with running(peer):
        # The only one that this camera has and nobody gives: it waits, as at a line that rests.
        trigger = CameraTrigger(kind="camera", line="Software")
        source = made(FrameCounts(), [], trigger, max_age=QUICK)
        ends = time.monotonic() + 1.5
        while time.monotonic() < ends:
            source.next(0.1)
        peer.freeze()
        with pytest.raises(CameraLost, match="no answer"):
            until(source, lambda _: False)
        peer.thaw()
        source.close()


@pytest.mark.parametrize(
    ("last", "now", "missed"),
    [(None, 900, 0), (4, 5, 0), (4, 8, 3), (65535, 1, 0), (65534, 2, 2), (9000, 1, 0), (5, 5, 0)],
)
def test_the_cameras_own_numbers_tell_of_frames_that_never_came(
    last: int | None, now: int, missed: int
) -> None:
    assert missed_frames(last, now) == missed


def test_colours_come_out_as_they_are_whatever_the_pixel_format() -> None:
    size = (4, 6)
    red = np.zeros((4, 6, 3), np.uint8)
    red[:, :, 0] = 200
    assert (to_frame(red.reshape(-1), size, RGB8, 3) == red).all()
    assert (to_frame(np.ascontiguousarray(red[:, :, ::-1]).reshape(-1), size, BGR8, 3) == red).all()
    corners = {0x01080009: (0, 0), 0x01080008: (0, 1), 0x0108000A: (1, 0), 0x0108000B: (1, 1)}
    assert corners.keys() == BAYER.keys()
    for pixel_format, (row, column) in corners.items():
        mosaic = np.zeros((4, 6), np.uint8)
        mosaic[row::2, column::2] = 200
        frame = to_frame(mosaic.reshape(-1), size, pixel_format, 3)
        assert frame[1:-1, 1:-1, 0].mean() > 100 > frame[1:-1, 1:-1, 1:].max()


def test_grey_keeps_its_depth() -> None:
    deep = np.arange(6, dtype=np.uint16) * 5000
    for pixel_format, dtype in MONO.items():
        pixels = deep.astype(dtype)
        frame = to_frame(pixels.view(np.uint8), (2, 3), pixel_format, 1)
        assert frame.dtype == dtype
        assert (frame.reshape(-1) == pixels).all()


@pytest.mark.parametrize(("pixel_format", "size"), [(0x02100032, (2, 3)), (0x01080001, (200, 300))])
def test_a_buffer_that_is_no_picture_is_refused(pixel_format: int, size: tuple[int, int]) -> None:
    with pytest.raises(DataError):
        to_frame(np.zeros(100, np.uint8), size, pixel_format, 3)


def test_a_picture_with_other_channels_than_grey_or_colour_is_refused() -> None:
    with pytest.raises(DataError, match="neither grey nor BGR"):
        in_colours(np.zeros((4, 4, 4), np.uint8), 3)
