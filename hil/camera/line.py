"""The rules of the line: when a trigger is due, and which controls hold at which trigger.

Line time is the trigger number over the rate: it stands still while the line is paused, and makes
an ageing lamp the same in every run.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from fleet_contract.errors import ConfigError
from hil.camera.optics import CameraSettings, check_control

MAX_RATE_HZ = 1000.0


@dataclass(frozen=True)
class Act:
    """From `trigger` on, `control` goes linearly from `start` to `to` in `seconds` (0: at once)."""

    trigger: int
    control: str
    start: float
    to: float
    seconds: float

    def value_at(self, trigger: int, rate_hz: float) -> float:
        """The control's value at a trigger that is not before this act."""
        elapsed = (trigger - self.trigger) / rate_hz
        if elapsed >= self.seconds:
            return self.to
        return self.start + (self.to - self.start) * elapsed / self.seconds


@dataclass
class ControlPlan:
    """Every change of the controls, so that the settings of any past trigger can be told."""

    rate_hz: float
    initial: CameraSettings = field(default_factory=CameraSettings)
    acts: list[Act] = field(default_factory=list)

    def at(self, trigger: int) -> CameraSettings:
        """The settings that hold at a trigger."""
        latest: dict[str, Act] = {a.control: a for a in self.acts if a.trigger <= trigger}
        return self.initial.patched(
            {name: act.value_at(trigger, self.rate_hz) for name, act in latest.items()}
        )

    def put(self, trigger: int, values: Mapping[str, object]) -> None:
        """Set controls from `trigger` on. Raises ConfigError, changing nothing, if one is wrong."""
        checked = {name: check_control(name, value) for name, value in values.items()}
        self.acts += [Act(trigger, name, value, value, 0.0) for name, value in checked.items()]

    def ramp(self, trigger: int, control: str, to: object, seconds: object) -> None:
        """Move a control linearly, beginning at `trigger`. Raises ConfigError."""
        target = check_control(control, to)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise ConfigError(
                "a ramp needs a duration",
                expected="seconds of line time, more than 0",
                found=repr(seconds),
                remedy="Set the control instead where it is to change at once.",
            )
        start = asdict(self.at(trigger))[control]
        self.acts.append(Act(trigger, control, start, target, float(seconds)))


@dataclass
class LineClock:
    """When the next trigger is due, in seconds of a monotonic clock; late triggers catch up."""

    rate_hz: float
    due: float

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz <= MAX_RATE_HZ:
            raise ConfigError(
                "the line rate is out of range",
                expected=f"more than 0, at most {MAX_RATE_HZ:g} parts per second",
                found=f"{self.rate_hz:g}",
                remedy="Give another --rate.",
            )

    @property
    def period(self) -> float:
        """Seconds between two triggers."""
        return 1.0 / self.rate_hz

    def fire(self, now: float) -> bool:
        """Pass on to the next trigger; True where this one came more than a period late."""
        late = now - self.due > self.period
        self.due += self.period
        return late

    def restart(self, now: float) -> None:
        """Go on after a pause: the next trigger is one period away."""
        self.due = now + self.period
