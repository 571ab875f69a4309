"""Facts about the line clock and the plan of controls."""

import pytest

from fleet_contract.errors import ConfigError
from hil.camera.line import ControlPlan, LineClock


def test_a_change_holds_from_its_trigger_on() -> None:
    plan = ControlPlan(10)
    plan.put(5, {"light_level": 0.5})
    assert [plan.at(n).light_level for n in (4, 5, 6)] == [1.0, 0.5, 0.5]


def test_a_wrong_value_changes_nothing_at_all() -> None:
    plan = ControlPlan(10)
    with pytest.raises(ConfigError):
        plan.put(1, {"dirt": 0.5, "gain_db": 99})
    assert plan.acts == []


def test_a_ramp_is_linear_in_line_time_and_then_stays() -> None:
    plan = ControlPlan(10)
    plan.ramp(11, "light_level", 0.5, 2)
    levels = [plan.at(n).light_level for n in (10, 11, 16, 21, 31, 400)]
    assert levels == pytest.approx([1.0, 1.0, 0.875, 0.75, 0.5, 0.5])


def test_a_ramp_begins_where_another_one_has_come_to() -> None:
    plan = ControlPlan(10)
    plan.ramp(1, "light_level", 0.0, 10)
    plan.ramp(51, "light_level", 1.0, 1)
    assert plan.at(51).light_level == pytest.approx(0.5)
    assert plan.at(61).light_level == 1.0


def test_setting_a_control_ends_its_ramp_and_no_other() -> None:
    plan = ControlPlan(10)
    plan.ramp(1, "light_level", 0.0, 10)
    plan.ramp(1, "dirt", 1.0, 10)
    plan.put(51, {"light_level": 0.8})
    assert plan.at(60).light_level == 0.8
    assert plan.at(101).dirt == 1.0


@pytest.mark.parametrize("seconds", [0, -1, "2", None, True])
def test_a_ramp_without_a_duration_is_refused(seconds: object) -> None:
    with pytest.raises(ConfigError, match="duration"):
        ControlPlan(10).ramp(1, "dirt", 1.0, seconds)


def test_a_late_trigger_is_caught_up_and_none_is_skipped() -> None:
    clock = LineClock(10, due=100.0)
    late = [clock.fire(now) for now in (100.0, 100.35, 100.35, 100.35, 100.4)]
    assert late == [False, True, True, False, False]
    assert clock.due == pytest.approx(100.5)


def test_after_a_pause_nothing_is_caught_up() -> None:
    clock = LineClock(10, due=100.0)
    clock.restart(500.0)
    assert clock.due == pytest.approx(500.1)


@pytest.mark.parametrize("rate", [0.0, -1.0, 5000.0])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="rate"):
        LineClock(rate, 0.0)
