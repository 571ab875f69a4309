"""When a line is trained by the clock: `daily 02:30` (UTC), or `every 6h`. Pure."""

import re
from dataclasses import dataclass

from fleet_contract.errors import ConfigError

_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60
_DAILY = re.compile(r"daily ([01][0-9]|2[0-3]):([0-5][0-9])")
_EVERY = re.compile(r"every ([1-9][0-9]{0,3})h")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every `period_s`; at `offset_s` after midnight UTC, or, without it, counted from the last time."""

    period_s: float
    offset_s: float | None = None

    def after(self, since_s: float) -> float:
        """The first time after `since_s`, both in seconds since 1970 (UTC has no leap seconds there)."""
        if self.offset_s is None:
            return since_s + self.period_s
        days = (since_s - self.offset_s) // self.period_s + 1
        return days * self.period_s + self.offset_s


def parse_schedule(text: str) -> Schedule:
    """The schedule that a person wrote. Raises ConfigError that says what would be right."""
    if daily := _DAILY.fullmatch(text):
        return Schedule(_DAY_S, int(daily[1]) * _HOUR_S + int(daily[2]) * _MINUTE_S)
    if every := _EVERY.fullmatch(text):
        return Schedule(int(every[1]) * _HOUR_S)
    raise ConfigError(
        "that is no schedule",
        expected="`daily HH:MM` in UTC, such as `daily 02:30`, or `every Nh`, such as `every 6h`",
        found=text[:80],
    )
