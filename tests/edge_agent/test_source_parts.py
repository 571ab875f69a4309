"""Which frame is which part: rules alone, with times as values."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.source.base import Captured, FrameCounts
from edge_agent.source.camera import Grab
from edge_agent.source.numbers import KeptNumbers, Numbers
from edge_agent.source.parts import (
    ONE_FRAME,
    Burst,
    FreeRun,
    LineTriggered,
    Parts,
    Signalled,
)
from edge_agent.source.set_by import SetBy, Settling
from edge_agent.trigger.base import Signal
from fleet_contract.inference.preprocess import Frame


def after(last: int) -> Numbers:
    numbers = Numbers()
    numbers.begin(last)
    return numbers


def picture(level: int) -> Frame:
    return np.full((2, 2), level, np.uint8)


def frames(parts: Parts, *arrivals: float) -> None:
    """Frames at these times, each as grey as its time in seconds; only what is wanted is added."""
    for at in arrivals:
        if parts.wants(at):
            parts.add(Grab(at), picture(int(at)))


def drain(parts: Parts, now_s: float = 0.0) -> list[Captured]:
    taken = []
    while (one := parts.take(now_s)) is not None:
        taken.append(one)
    return taken


def shown(captured: list[Captured]) -> list[tuple[int, int | str]]:
    """Number, and the grey of the picture or why there is none."""
    return [
        (one.trigger, one.reason if one.frame is None else int(one.frame[0, 0])) for one in captured
    ]


def test_in_free_run_the_oldest_frames_give_way_and_numbers_stay_whole() -> None:
    counts = FrameCounts()
    parts = FreeRun(2, counts, after(7), None)
    frames(parts, 1, 2, 3, 4, 5)
    assert shown(drain(parts)) == [(8, 4), (9, 5)]
    assert counts.dropped == 3


def test_free_run_takes_no_more_frames_than_its_rate() -> None:
    parts = FreeRun(99, FrameCounts(), Numbers(), 1.0)
    frames(parts, *np.arange(1, 11, 0.25))
    assert len(drain(parts)) == 10


def test_a_camera_slightly_slower_than_the_rate_loses_no_frame() -> None:
    parts = FreeRun(99, FrameCounts(), Numbers(), 10.0)
    frames(parts, *np.arange(0, 3, 0.101))
    assert len(drain(parts)) == 30


def test_frames_that_a_camera_says_it_sent_count_as_dropped_in_free_run() -> None:
    counts = FrameCounts()
    parts = FreeRun(9, counts, Numbers(), None)
    parts.add(Grab(1.0, missed=3), picture(1))
    assert shown(drain(parts)) == [(1, 1)]
    assert counts.dropped == 3


class Fired(Signalled):
    """With numbers of its own."""

    def signal(self, signal: Signal) -> int:
        number = self.numbers.next()
        self.fire(number, signal)
        return number

    numbers: Numbers


def signalled(
    limit: int = 9,
    delay_s: float = 0.0,
    timeout_s: float = 1.0,
    last: int = 0,
    burst: Burst = ONE_FRAME,
    set_by: SetBy | None = None,
) -> Fired:
    made = Fired(limit, FrameCounts(), delay_s, timeout_s, burst, set_by)
    made.numbers = after(last)
    return made


def test_the_first_frame_after_a_signal_is_its_part() -> None:
    parts = signalled(last=40)
    frames(parts, 9)
    assert parts.signal(Signal(10.5, "SN-1", "steel")) == 41
    frames(parts, 10, 11, 12)
    (part,) = drain(parts)
    assert shown([part]) == [(41, 11)]
    assert (part.external_id, part.recipe, part.arrival_s) == ("SN-1", "steel", 11)


def test_the_delay_lets_the_part_travel_to_the_camera() -> None:
    parts = signalled(delay_s=2.0)
    parts.signal(Signal(10.5))
    frames(parts, 11, 12, 13, 14)
    assert shown(drain(parts)) == [(1, 13)]


def test_signals_between_two_frames_are_parts_each() -> None:
    parts = signalled()
    parts.signal(Signal(10.2))
    parts.signal(Signal(10.4))
    frames(parts, 11, 12)
    assert shown(drain(parts)) == [(1, 11), (2, 11)]


def test_a_signal_without_a_frame_in_time_is_a_part_all_the_same() -> None:
    parts = signalled(delay_s=0.5, timeout_s=1.0)
    parts.signal(Signal(10.0, "SN-1"))
    assert parts.wake_s() == 11.5
    assert drain(parts, 11.4) == []
    (part,) = drain(parts, 11.6)
    assert (part.trigger, part.frame, part.reason) == (1, None, "camera_gap")
    assert (part.external_id, part.arrival_s) == ("SN-1", 10.0)
    frames(parts, 12)
    assert drain(parts, 12.0) == []


def test_while_the_camera_is_lost_a_part_does_not_wait_for_its_frame() -> None:
    parts = signalled(delay_s=0.5, timeout_s=9.0)
    parts.away(True)
    parts.signal(Signal(10.0))
    assert parts.wake_s() == 10.5
    assert drain(parts, 10.4) == []
    assert shown(drain(parts, 10.6)) == [(1, "camera_gap")]
    parts.away(False)
    parts.signal(Signal(11.0))
    frames(parts, 12)
    assert shown(drain(parts, 12)) == [(2, 12)]


def test_signals_that_pile_up_keep_their_parts_and_lose_their_pictures() -> None:
    parts = signalled(limit=2)
    for number in range(4):
        parts.signal(Signal(number + 0.5))
        frames(parts, number + 1)
    assert shown(drain(parts)) == [(1, 1), (2, 2), (3, "overrun"), (4, "overrun")]
    parts.signal(Signal(5.5))
    frames(parts, 6)
    assert shown(drain(parts)) == [(5, 6)]


def test_a_frame_that_is_not_whole_is_a_part_without_a_picture() -> None:
    parts = signalled()
    parts.signal(Signal(1.0))
    parts.add(Grab(2.0, whole=False), None)
    assert shown(drain(parts)) == [(1, "frame_incomplete")]


def test_the_cameras_own_trigger_makes_every_frame_a_part_and_every_missing_one_too() -> None:
    counts = FrameCounts()
    parts = LineTriggered(9, counts, after(2))
    frames(parts, 1)
    parts.add(Grab(4.0, missed=2), picture(4))
    parts.add(Grab(5.0, whole=False), None)
    assert shown(drain(parts)) == [
        (3, 1), (4, "camera_gap"), (5, "camera_gap"), (6, 4), (7, "frame_incomplete"),
    ]  # fmt: skip
    assert (counts.dropped, counts.incomplete) == (0, 1)


def test_a_signal_that_came_too_late_is_a_part_without_a_picture_in_its_turn() -> None:
    parts = signalled()
    parts.signal(Signal(1.0))
    parts.signal(Signal(1.1, "SN-2", passed=True))
    frames(parts, 2)
    assert shown(drain(parts)) == [(1, 2), (2, "camera_gap")]
    parts.signal(Signal(3.0, passed=True))
    assert shown(drain(parts, 3.0)) == [(3, "camera_gap")]


def kept(path: Path, after: int) -> KeptNumbers:
    numbers = KeptNumbers(path, 0)
    numbers.begin(after)
    return numbers


def test_numbers_that_were_given_do_not_come_again_after_a_sudden_end(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    assert [kept(path, 40).next(), kept(path, 40).next(), kept(path, 0).next()] == [41, 42, 43]
    assert kept(path, 90).next() == 91


@pytest.mark.parametrize("content", [b"", b"\0" * 20, b"12x"])
def test_a_file_of_numbers_that_a_power_cut_spoilt_is_no_obstacle(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(content)
    assert kept(path, 7).next() == 8


def test_a_disk_that_refuses_holds_up_no_part(tmp_path: Path) -> None:
    numbers = kept(tmp_path / "no such folder" / "numbers", 7)
    assert [numbers.next(), numbers.next()] == [8, 9]
    numbers.close()


# Several frames of one camera for a part


def views(captured: list[Captured]) -> list[tuple[int, int, int | str]]:
    """Number, view, and what is shown."""
    return [
        (number, one.view, seen)
        for (number, seen), one in zip(shown(captured), captured, strict=True)
    ]


def test_a_burst_is_the_frames_after_the_signal_at_their_spacing() -> None:
    parts = signalled(burst=Burst(3, 2.0))
    parts.signal(Signal(10.5, "SN-1", "steel"))
    frames(parts, *range(10, 20))
    found = drain(parts)
    assert views(found) == [(1, 0, 11), (1, 1, 13), (1, 2, 15)]
    assert {(one.external_id, one.recipe) for one in found} == {("SN-1", "steel")}


def test_parts_that_follow_closely_have_bursts_of_their_own() -> None:
    parts = signalled(burst=Burst(2, 3.0))
    parts.signal(Signal(10.5))
    parts.signal(Signal(11.5))
    frames(parts, *range(10, 20))
    assert views(drain(parts)) == [(1, 0, 11), (2, 0, 12), (1, 1, 14), (2, 1, 15)]


def test_a_burst_that_breaks_off_ends_without_its_further_views() -> None:
    parts = signalled(burst=Burst(3, timeout_s=0.5))
    parts.signal(Signal(10.5))
    frames(parts, 11)
    assert parts.wake_s() == 11.5
    assert views(drain(parts, 11.6)) == [(1, 0, 11), (1, 1, "camera_gap"), (1, 2, "camera_gap")]


def test_frames_of_the_cameras_own_input_are_grouped_and_each_pause_begins_anew() -> None:
    parts = LineTriggered(9, FrameCounts(), Numbers(), Burst(2, timeout_s=1.5))
    frames(parts, 1, 2, 5, 9)
    parts.add(Grab(10.0, missed=1), picture(10))
    assert views(drain(parts, 10)) == [
        (1, 0, 1), (1, 1, 2), (2, 0, 5), (2, 1, "camera_gap"),
        (3, 0, 9), (3, 1, "camera_gap"), (4, 0, 10),
    ]  # fmt: skip
    assert parts.wake_s() == 11.5
    assert views(drain(parts, 12)) == [(4, 1, "camera_gap")]


# Recipes that move the camera


STEEL = {"steel": Settling(settle_s=1.0, skip=1)}


def at(parts: Signalled, set_by: SetBy, *arrivals: float) -> None:
    """Frames as a camera's thread gives them: what was exposed before the change is passed over."""
    for arrival in arrivals:
        if set_by.passes(arrival) and parts.wants(arrival):
            parts.add(Grab(arrival), picture(int(arrival)))


def test_a_part_of_another_recipe_waits_for_its_settings_and_for_frames_that_show_them() -> None:
    set_by = SetBy(STEEL)
    parts = signalled(set_by=set_by, timeout_s=3.0)
    parts.signal(Signal(10.5, recipe="brass"))
    assert set_by.to_set() is None, "brass moves nothing"
    parts.signal(Signal(10.6, recipe="steel"))
    at(parts, set_by, 11)
    assert set_by.to_set() == "steel"
    at(parts, set_by, 12)
    set_by.was_set("steel", 12.5, taken=True)
    at(parts, set_by, 13, 14, 15)
    assert shown(drain(parts)) == [(1, 11), (2, 15)]
    parts.signal(Signal(15.1))
    assert set_by.to_set() == ""


def test_a_part_whose_settings_the_camera_does_not_take_says_so_and_the_next_tries_again() -> None:
    set_by = SetBy({"steel": Settling(skip=0)})
    parts = signalled(set_by=set_by)
    parts.signal(Signal(10.5, recipe="steel"))
    parts.signal(Signal(10.6, recipe="steel"))
    set_by.was_set("steel", 11.0, taken=False)
    at(parts, set_by, 11)
    assert shown([one for one in [parts.take(11.0)] if one]) == [(1, "camera_settings")]
    assert set_by.to_set() == "steel"
    set_by.was_set("steel", 11.2, taken=True)
    at(parts, set_by, 11.4)
    assert shown(drain(parts)) == [(2, 11)]


def test_a_camera_that_is_opened_anew_is_set_again() -> None:
    set_by = SetBy(STEEL)
    set_by.want("steel")
    set_by.was_set("steel", 1.0, taken=True)
    assert set_by.to_set() is None
    set_by.connected()
    assert set_by.to_set() == "steel"


ACTS = st.lists(st.sampled_from(["fire", "late", "frame", "torn", "take", "wait"]), max_size=60)


@given(ACTS, st.integers(1, 3), st.sampled_from([0.0, 1.5]), st.sampled_from([1, 2, 3]))
def test_whatever_happens_each_signal_is_one_part_and_parts_begin_in_their_order(
    acts: list[str], limit: int, delay_s: float, count: int
) -> None:
    parts = signalled(limit, delay_s, timeout_s=3.0, burst=Burst(count, timeout_s=2.0))
    now, fired, taken = 0.0, 0, list[Captured]()
    for act in acts:
        now += 5.0 if act == "wait" else 1.0
        if act in ("fire", "late"):
            fired += 1
            assert parts.signal(Signal(now, passed=act == "late")) == fired
        elif act in ("frame", "torn") and parts.wants(now):
            whole = act == "frame"
            parts.add(Grab(now, whole=whole), picture(int(now) % 256) if whole else None)
        elif act == "take":
            taken += [one] if (one := parts.take(now)) else []
    held = drain(parts, now + 99)
    assert sum(one.frame is not None for one in held) <= limit
    for view in range(count):
        numbers = [one.trigger for one in taken + held if one.view == view]
        assert sorted(numbers) == list(range(1, fired + 1)), "each view of each part, once"
    begun = list(dict.fromkeys(one.trigger for one in taken + held))
    assert begun == sorted(begun)
