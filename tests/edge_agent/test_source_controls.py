"""A camera's controls: their order, what is read back, what moves; and cameras of the kernel."""

from typing import Any

import pytest
from pydantic import ValidationError

from edge_agent.source.base import CameraLost
from edge_agent.source.controls import ControlError, ControlKeeper, Name, plan
from edge_agent.source.settings import ControlsConfig, V4l2Source
from edge_agent.source.v4l2 import V4l2Camera, code, from_device, to_device
from fleet_contract.clock import ManualClock, SystemClock


def controls(**settings: Any) -> ControlsConfig:
    return ControlsConfig.model_validate(settings)


class Camera:
    """Controls with steps and limits of their own; without those of `lacks`."""

    def __init__(self, *lacks: Name) -> None:
        self.acts: list[Name] = []
        self.values: dict[Name, float] = {}
        self._lacks = lacks

    def set_control(self, name: Name, value: float) -> None:
        if name in self._lacks:
            raise ControlError("no such control")
        self.acts.append(name)
        self.values[name] = min(value, 50.0)

    def get_control(self, name: Name) -> float:
        if name in self._lacks:
            raise ControlError("no such control")
        return self.values[name]


class Bench:
    def __init__(self, config: ControlsConfig, **recipes: ControlsConfig) -> None:
        self.clock, self.told = ManualClock(), list[str]()
        self.keeper = ControlKeeper(config, self.clock, self._tell, recipes)

    def _tell(self, kind: str, text: str, severity: str) -> None:
        assert (kind, severity) == ("camera", "warning")
        self.told.append(text)


def test_automatics_are_turned_off_before_values_are_set() -> None:
    config = controls(gain=2.5, exposure="4ms", white_balance=4600, focus=3)
    assert plan(config) == [
        ("auto_exposure", 0.0), ("auto_gain", 0.0), ("auto_white_balance", 0.0),
        ("auto_focus", 0.0), ("dynamic_framerate", 0.0),
        ("exposure", 0.004), ("gain", 2.5), ("white_balance", 4600.0), ("focus", 3.0),
    ]  # fmt: skip


def test_what_is_not_configured_is_left_alone() -> None:
    assert plan(controls()) == []
    assert plan(controls(auto_exposure=True)) == [("auto_exposure", 1.0)]


def test_a_value_under_its_automatic_is_refused() -> None:
    with pytest.raises(ValidationError, match="either exposure or auto_exposure"):
        controls(auto_exposure=True, exposure="4ms")


def test_what_the_camera_made_of_a_value_is_told_at_the_start() -> None:
    bench, camera = Bench(controls(gain=80, exposure="4ms")), Camera()
    bench.keeper.apply(camera)
    assert camera.acts == ["auto_exposure", "auto_gain", "dynamic_framerate", "exposure", "gain"]
    assert bench.told == ["the camera's controls are not as configured: gain is 50, not 80"]


def test_rounding_to_the_cameras_steps_is_no_difference() -> None:
    bench, camera = Bench(controls(exposure="4.04ms")), Camera()
    bench.keeper.apply(camera)
    camera.values["exposure"] = 0.004
    bench.clock.advance(5.1)
    bench.keeper.check(camera)
    assert bench.told == []


def test_a_control_that_the_camera_lacks_is_told_but_not_its_missing_automatic() -> None:
    bench = Bench(controls(exposure="4ms", gain=2))
    bench.keeper.apply(Camera("gain", "auto_gain", "auto_exposure", "dynamic_framerate"))
    assert bench.told == [
        "the camera's controls are not as configured: gain cannot be set: no such control;"
        " gain cannot be read: no such control"
    ]


def test_a_control_that_moves_is_told_once_a_move_and_not_looked_for_all_the_time() -> None:
    bench, camera = Bench(controls(exposure="4ms")), Camera()
    bench.keeper.apply(camera)
    camera.values["exposure"] = 0.008
    bench.clock.advance(4.9)
    bench.keeper.check(camera)
    assert bench.told == []
    for _ in range(3):
        bench.clock.advance(5.1)
        bench.keeper.check(camera)
    assert bench.told == ["the camera's controls moved by themselves: exposure from 4 ms to 8 ms"]
    camera.values["auto_exposure"] = 1.0
    bench.clock.advance(5.1)
    bench.keeper.check(camera)
    assert bench.told[1:] == [
        "the camera's controls moved by themselves: auto_exposure from off to on"
    ]


# By recipe


def test_what_a_recipe_moves_goes_back_to_what_is_configured_or_to_what_was_found() -> None:
    bench = Bench(controls(exposure="4ms"), steel=controls(exposure="2ms", gain=9))
    camera = Camera()
    camera.values |= {"gain": 3.0, "auto_gain": 0.0}
    bench.keeper.apply(camera)
    camera.acts.clear()
    assert bench.keeper.use(camera, "steel")
    assert (camera.values["exposure"], camera.values["gain"]) == (0.002, 9.0)
    assert camera.acts == ["auto_exposure", "auto_gain", "dynamic_framerate", "exposure", "gain"]
    assert bench.keeper.use(camera, "")
    assert (camera.values["exposure"], camera.values["gain"]) == (0.004, 3.0)
    assert bench.told == []


def test_an_automatic_that_a_recipe_turned_off_is_on_again_after_it() -> None:
    bench, camera = Bench(controls(), steel=controls(exposure="2ms")), Camera()
    camera.values |= {"auto_exposure": 1.0, "exposure": 0.008, "dynamic_framerate": 1.0}
    bench.keeper.apply(camera)
    assert bench.keeper.use(camera, "steel")
    assert camera.values["auto_exposure"] == 0.0
    camera.acts.clear()
    assert bench.keeper.use(camera, "")
    assert camera.values["auto_exposure"] == 1.0
    assert "exposure" not in camera.acts, "under its automatic it is the camera's own"


def test_from_recipe_to_recipe_only_what_the_next_sets_stays_moved() -> None:
    bench = Bench(controls(gain=1), steel=controls(gain=9), brass=controls(exposure="2ms"))
    camera = Camera()
    camera.values |= {"exposure": 0.005, "auto_exposure": 0.0, "dynamic_framerate": 0.0}
    bench.keeper.apply(camera)
    assert bench.keeper.use(camera, "steel")
    assert bench.keeper.use(camera, "brass")
    assert (camera.values["gain"], camera.values["exposure"]) == (1.0, 0.002)


def test_a_camera_that_does_not_follow_is_told_once_and_what_moves_later_too() -> None:
    bench, camera = Bench(controls(gain=1), steel=controls(gain=80)), Camera()
    bench.keeper.apply(camera)
    assert [bench.keeper.use(camera, "steel") for _ in range(3)] == [False] * 3
    assert bench.told == [
        "the camera does not take the settings of recipe steel: gain is 50, not 80"
    ]
    assert bench.keeper.use(camera, "")
    camera.values["gain"] = 2.0
    bench.clock.advance(5.1)
    bench.keeper.check(camera)
    assert bench.told[1:] == ["the camera's controls moved by themselves: gain from 1 to 2"]


@pytest.mark.parametrize(
    ("name", "value", "device"),
    [
        ("exposure", 0.004, 40), ("auto_exposure", 1.0, 3), ("auto_exposure", 0.0, 1),
        ("dynamic_framerate", 0.0, 0), ("white_balance", 4600.0, 4600), ("gain", 10.0, 10),
    ],
)  # fmt: skip
def test_the_kernels_units_are_kept(name: Name, value: float, device: int) -> None:
    assert to_device(name, value) == device
    assert from_device(name, device) == pytest.approx(value)


# There is no camera of the kernel here: what can be seen without one.


def v4l2(device: str) -> V4l2Camera:
    return V4l2Camera(V4l2Source(kind="v4l2", device=device), SystemClock())


def test_a_device_that_is_not_there_says_which_are() -> None:
    camera = v4l2("/dev/video97")
    with pytest.raises(CameraLost, match="video97 is not there; there is"):
        camera.open()
    camera.close()


def test_a_device_that_is_no_camera_is_refused_and_has_no_controls() -> None:
    camera = v4l2("/dev/null")
    with pytest.raises(CameraLost, match="/dev/null cannot be opened"):
        camera.open()
    with pytest.raises(ControlError, match="Inappropriate ioctl"):
        camera.set_control("gain", 1.0)
    camera.close()


def test_a_pixel_format_has_the_kernels_number() -> None:
    assert code("MJPG") == 0x47504A4D


def test_half_a_size_is_refused() -> None:
    with pytest.raises(ValidationError, match="width and height, or neither"):
        V4l2Source(kind="v4l2", width=640)
