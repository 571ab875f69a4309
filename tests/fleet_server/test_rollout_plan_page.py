"""The reference page of plans says what the code does."""

import re
import tomllib
from pathlib import Path

from fleet_server.rollouts.plan import Stage, parse_plan

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rollout-plan.md"


def test_every_key_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == list(Stage.model_fields)
    for name, told in rows:
        default = Stage.model_fields[name].default
        if isinstance(default, str):
            assert told == f'`"{default}"`'
        elif isinstance(default, int | float):
            assert float(told) == default


def test_the_example_is_a_plan() -> None:
    [example] = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = [stage.name for stage in parse_plan(tomllib.loads(example)).stages]
    assert names == ["shadow", "canary", "canary", "all"]
