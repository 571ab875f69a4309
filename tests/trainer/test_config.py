"""The configuration file."""

import re

import pytest

from fleet_contract.errors import ConfigError
from trainer.config import Table, TrainerConfig, parse_config
from trainer.template import template


def test_the_printed_configuration_is_the_defaults() -> None:
    assert parse_config(template("watch-case"), "x") == parse_config(
        '[line]\nname = "watch-case"\n', "x"
    )


def test_the_printed_configuration_names_every_key() -> None:
    text = template("watch-case")
    for table, field in TrainerConfig.model_fields.items():
        assert f"[{table}" in text
        if isinstance(field.annotation, type) and issubclass(field.annotation, Table):
            for key in field.annotation.model_fields:
                assert f"\n{key} = " in text


def test_what_the_template_shows_in_comments_is_valid() -> None:
    head, comments = template("watch-case").split("# What is still accepted")
    shown = [
        line[2:] for line in comments.splitlines() if re.match(r"# (\[|\w+ = |    \{|\])", line)
    ]
    config = parse_config(head + "\n".join(shown), "x")
    assert config.acceptance is not None
    assert config.acceptance.limits[1].zone == "face"
    assert config.recipes["matt"].threshold == 0.6


def test_a_line_of_good_parts_alone_differs_by_its_family() -> None:
    config = parse_config(template("watch-case", "good_only"), "x")
    assert config.train.family == "good_only"
    assert config.train.anomalies == 0.5


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('[train]\ntime_budget = "60"', "such as '2s'"),
        ("[train]\ntime_budget = 60", "a quantity with its unit"),
        ('[augment]\nshift = "4"', "whole pixels with their unit, such as '4px'"),
        ("[train]\nepoch = 3", "train.epoch: no such key; expected one of family, network"),
        ("[training]\nseed = 3", "training: no such key; expected one of line, input"),
        ("[augment]\ngain = [1.2, 0.8]", "gain: expected [lowest, highest]"),
        ("[input]\nwidth = 100", "input.width"),
        ("[input]\nwidth = 128", "both as numbers or both as 'auto'"),
        ("[input]\ntiles = [2, 2]", "expected width and height with them"),
        ('[train]\nfamily = "plugin"', "module:function"),
        ("[threshold]\noverkill_at_most = 2", "threshold.overkill_at_most"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(line: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f'[line]\nname = "a"\n{line}\n', "line.toml")
    assert "line.toml" in str(caught.value)
    assert named in str(caught.value)


def test_a_file_without_a_line_says_so() -> None:
    with pytest.raises(ConfigError, match="line: Field required"):
        parse_config("", "line.toml")


def test_text_that_is_not_toml_says_where() -> None:
    with pytest.raises(ConfigError, match="line 1"):
        parse_config("= 3", "line.toml")


def test_the_digest_is_of_the_meaning_and_not_of_the_text() -> None:
    plain = parse_config('[line]\nname = "a"\n', "x")
    spelt = parse_config('# the same\n[train]\nseed = 0\n[line]\nname = "a"\n', "x")
    other = parse_config('[line]\nname = "a"\n[train]\nseed = 1\n', "x")
    assert plain.digest() == spelt.digest() != other.digest()
