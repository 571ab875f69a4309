"""The how-to names commands and options that are there."""

import re

import typer.main

from tests.support.imports import ROOT
from trainer.cli import app

PAGE = (ROOT / "docs" / "how-to" / "train-on-my-images.md").read_text()
COMMANDS = typer.main.get_group(app).commands


def options(command: str) -> set[str]:
    """The options of a command, as they are written."""
    return {name for parameter in COMMANDS[command].params for name in parameter.opts
            if name.startswith("--")}  # fmt: skip


def test_every_command_of_the_page_is_there_with_its_options() -> None:
    lines = re.findall(r"^ *loupe-trainer ([\w-]+) (.*)$", PAGE, re.MULTILINE)
    assert {name for name, _ in lines} == {
        "import",
        "export-dataset",
        "new",
        "train",
        "evaluate",
        "predict",
        "worker",
    }
    for name, rest in lines:
        assert set(re.findall(r"--[a-z-]+", rest)) <= options(name)


def test_every_option_that_the_text_names_belongs_to_a_command() -> None:
    known = set().union(*(options(name) for name in COMMANDS))
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= known
