"""When a schedule is due, from its text and a time alone."""

from datetime import UTC, datetime

import pytest

from fleet_contract.errors import ConfigError
from fleet_server.registry.rules import read_policy
from fleet_server.runs.schedule import parse_schedule


def at(text: str) -> float:
    """Seconds since 1970 of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("schedule", "since", "due"),
    [
        ("daily 02:30", "2026-03-01 01:00", "2026-03-01 02:30"),
        ("daily 02:30", "2026-03-01 02:30", "2026-03-02 02:30"),
        ("daily 00:00", "2026-02-28 23:59", "2026-03-01 00:00"),
        # Europe's clocks go forward in this night; UTC does not.
        ("daily 02:30", "2026-03-29 01:59", "2026-03-29 02:30"),
        ("every 6h", "2026-03-01 01:10", "2026-03-01 07:10"),
        ("every 48h", "2026-03-01 01:10", "2026-03-03 01:10"),
    ],
)
def test_a_schedule_is_due_next(schedule: str, since: str, due: str) -> None:
    assert parse_schedule(schedule).after(at(since)) == at(due)


@pytest.mark.parametrize(
    "text", ["daily", "daily 24:00", "daily 2:30", "every 0h", "every 6", "every 6 h", "hourly"]
)
def test_a_text_that_is_no_schedule_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"such as `daily 02:30`"):
        read_policy({"train_schedule": text})


def test_a_policy_without_triggers_has_none() -> None:
    policy = read_policy({})
    assert (policy.train_after_labels, policy.train_schedule) == (None, "")
