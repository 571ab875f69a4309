"""`import` and `export-dataset`, as a person calls them."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.trainer.marked import pictures
from tests.trainer.parts import write_csv, write_image
from trainer.cli import app, main
from trainer.data.store import Store

RUNNER = CliRunner()


def call(*arguments: object) -> tuple[str, str]:
    """Standard output and error of a command that succeeds."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for one in pictures(good=6, bad=3):
        one.write(tmp_path / "set" / "images")
        write_image(tmp_path / "set" / "masks" / f"{one.stem}.png", one.mask)
    return tmp_path / "set"


@pytest.mark.usefixtures("pairs")
def test_the_store_lies_below_the_working_folder_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOUPE_STORE", raising=False)
    digest = call("import", "set", "--line", "discs")[0].strip()
    assert Store(tmp_path / ".loupe" / "store").digests() == [digest]
    monkeypatch.setenv("LOUPE_STORE", str(tmp_path / "other"))
    call("import", "set", "--line", "discs")
    assert Store(tmp_path / "other").digests() == [digest]


def test_import_says_what_it_took_the_source_for(pairs: Path, tmp_path: Path) -> None:
    said, told = call("import", pairs, "--line", "discs", "--store", tmp_path / "store", "--json")
    assert "taken as masks: it holds images/ and masks/" in told
    assert json.loads(said)["labels"].keys() == {"good", "defect"}


def test_images_go_out_and_come_back(pairs: Path, tmp_path: Path) -> None:
    store = ("--store", tmp_path / "store")
    digest = call("import", pairs, "--line", "discs", *store)[0].strip()
    said = call("export-dataset", digest[:10], "--format", "coco", "--out", tmp_path / "out", *store,
                "--json")[0]  # fmt: skip
    assert json.loads(said) == {"digest": digest, "format": "coco", "images": 12,
                                "out": str(tmp_path / "out")}  # fmt: skip
    back = json.loads(call("import", tmp_path / "out", "--line", "discs", "--group", "group",
                           "--keep-split", *store, "--json")[0])  # fmt: skip
    first = Store(tmp_path / "store").version(digest)
    second = Store(tmp_path / "store").version(back["digest"])
    mine = {(i.sha256, i.label, i.mask, i.group, i.split) for i in first.items}
    assert {(i.sha256, i.label, i.mask, i.group, i.split) for i in second.items} == mine


def test_images_are_added_to_a_version(pairs: Path, tmp_path: Path) -> None:
    shared = ("--line", "discs", "--store", tmp_path / "store", "--json")
    first = json.loads(call("import", pairs, *shared)[0])
    more = write_csv(tmp_path / "more", good=30, bad=10).parent
    result = RUNNER.invoke(app, ["import", str(more), "--line", "discs", "--store",
                                 str(tmp_path / "store"), "--add-to", first["digest"][:9],
                                 "--where", "label=good", "--json"])  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "6 images are in the version already" in result.stderr
    second = Store(tmp_path / "store").version(json.loads(result.stdout)["digest"])
    assert second.parent == first["digest"]
    assert len(second.items) == first["images"] + 24


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "{set}", "--line", "discs", "--format", "kitti"], "--format is not known"),
        (["import", "{set}", "--line", "discs", "--group", "tile"], "no image has a column 'tile'"),
        (["import", "{set}", "--line", "discs", "--group", "re:("], "no regular expression"),
        (["import", "{set}", "--line", "discs", "--group", "re:part"], "one group in parentheses"),
        (["import", "{set}", "--line", "discs", "--keep-split"], "12 images stand on no side of a split"),
        (["import", "{set}", "--line", "discs", "--add-to", "0" * 64], "the store has no dataset"),
        (["export-dataset", "0" * 64, "--format", "coco", "--out", "x"], "the store has no dataset"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_and_exit_code_2(
    arguments: list[str], said: str, pairs: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    filled = [argument.replace("{set}", str(pairs)) for argument in arguments]
    store = ["--store", str(tmp_path / "store")]
    monkeypatch.setattr(sys, "argv", ["loupe-trainer", *filled, *store])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
