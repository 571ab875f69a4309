"""The examples for engines, and the pages beside them, call commands and options that are there."""

import ast
import re
import shlex

import pytest
import typer.main
import yaml
from typer.core import TyperGroup

from tests.support.imports import ROOT
from trainer.cli import app

EXAMPLES = ROOT / "docs" / "examples"
PAGES = [ROOT / "docs" / "how-to" / f"{name}.md"
         for name in ("reproduce-a-bundle", "train-from-a-pipeline")]  # fmt: skip


def dag_commands() -> list[str]:
    """The literal `bash_command` of every operator of the DAG."""
    tree = ast.parse((EXAMPLES / "airflow_dag.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    values = [k.value for call in calls for k in call.keywords if k.arg == "bash_command"]
    return [ast.literal_eval(value) for value in values]


def action_commands() -> list[str]:
    """The `run` of every step."""
    workflow = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    return [step["run"] for step in steps if "run" in step]


def page_commands() -> list[str]:
    text = "\n".join(page.read_text() for page in PAGES)
    return re.findall(r"^(loupe-trainer .*)$", text, re.MULTILINE)


def calls(command: str) -> list[list[str]]:
    """The words of every call of the trainer in a shell command."""
    parts = re.split(r"&&|\|\||;|\|", command)
    return [words[1:] for words in map(shlex.split, parts) if words and words[0] == "loupe-trainer"]


def check(words: list[str]) -> None:
    """Parses the words as the command line would, without doing what they say."""
    group, words = typer.main.get_group(app), list(words)
    while True:
        name = words.pop(0)
        assert name in group.commands, name
        command = group.commands[name]
        if not isinstance(command, TyperGroup):
            command.make_context(name, words)
            return
        group = command


@pytest.mark.parametrize("command", [*dag_commands(), *action_commands(), *page_commands()])
def test_every_call_of_the_trainer_is_one_that_it_takes(command: str) -> None:
    found = calls(command)
    assert found
    for words in found:
        check(words)


def test_an_option_that_is_not_there_is_seen() -> None:
    with pytest.raises(Exception, match="No such option"):
        check(["train", "line.toml", "--gone"])


def test_the_dag_trains_between_check_and_proof() -> None:
    assert [calls(command)[0][0] for command in dag_commands()] == [
        "validate",
        "train",
        "reproduce",
    ]


def test_the_actions_try_pull_requests_and_train_what_is_merged() -> None:
    # YAML 1.1 reads the key `on` as true.
    workflow = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())
    assert set(workflow[True]) == {"pull_request", "push"}
    assert set(workflow["jobs"]) == {"smoke", "train"}
    assert any("--smoke" in command for command in action_commands())
