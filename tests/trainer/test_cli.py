"""The command line, as a person calls it."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from fleet_contract.archive import read
from tests.trainer.conftest import CONFIG, World
from tests.trainer.parts import draw, write_csv, write_image
from trainer.cli import app, main
from trainer.compare import MAY_SHIP

RUNNER = CliRunner()


def call(*arguments: object) -> str:
    """Standard output of a command that succeeds."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_import_prints_the_digest_that_train_takes(tmp_path: Path) -> None:
    manifest = write_csv(tmp_path / "data", good=20, bad=10)
    shared = ("import", manifest, "--line", "discs", "--store", tmp_path / "store")
    said = json.loads(call(*shared, "--json"))
    assert said["labels"]["good"] == {"train": 14, "holdout": 6}
    assert call(*shared).splitlines()[-1] == said["digest"]


def test_train_writes_the_bundle_and_compares_it_with_the_champion(
    world: World, tmp_path: Path
) -> None:
    config, out = tmp_path / "line.toml", tmp_path / "out" / "discs.tar"
    config.write_text(CONFIG.replace("epochs = 30", "epochs = 8"))
    made = json.loads(call(
        "train", config, "--store", world.store.folder, "--dataset", world.version.digest()[:8],
        "--out", out, "--champion", world.file, "--json",
    ))  # fmt: skip
    assert made["size_bytes"] == out.stat().st_size
    assert made["dataset"] == world.version.digest()
    # It went on from the champion's weights, on the same data.
    assert made["comparison"]["outcome"] in MAY_SHIP
    manifest, _ = read(out.read_bytes())
    assert manifest.lineage.parent == world.built.digest


def test_evaluate_measures_what_the_bundle_says_of_itself(world: World) -> None:
    shared = ("evaluate", world.file, "--store", world.store.folder,
              "--dataset", world.version.digest())  # fmt: skip
    report = json.loads(call(*shared, "--json"))
    assert report["image_auroc"] == world.built.evaluation["image_auroc"]
    one = json.loads(call(*shared, "--runtime", "litert", "--precision", "fp32", "--json"))
    assert list(one["models"]) == ["litert/fp32"]
    assert "litert/int8" in call(*shared)


def test_predict_judges_and_draws_where_the_defect_is(world: World, tmp_path: Path) -> None:
    image, mask = draw(500, "stain")
    path = tmp_path / "part.png"
    write_image(path, image)
    said = json.loads(call("predict", world.file, path, "--heatmap", tmp_path / "heat", "--json"))
    assert (said["verdict"], said["image"]) == ("reject", str(path))
    drawn = cv2.imread(str(tmp_path / "heat" / "part.png"))
    assert drawn is not None
    redder = drawn[..., 2].astype(int) - image[..., 0]
    assert redder[mask > 0].mean() > redder[mask == 0].mean() + 10


def test_new_prints_a_configuration_for_the_line() -> None:
    text = call("new", "watch-case", "--good-only")
    assert 'name = "watch-case"' in text
    assert 'family = "good_only"' in text


def test_datasets_are_listed(world: World) -> None:
    assert world.version.digest() in call("datasets", "--store", world.store.folder)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "Watch Case"], "not a line's name"),
        (["import", "nowhere", "--line", "a", "--store", "{tmp}"], "nowhere is not there"),
        (["import", ".", "--line", "a", "--store", "{tmp}", "--where", "x"], "COLUMN=VALUE"),
        (["train", "no.toml", "--store", "{tmp}", "--dataset", "0" * 8, "--out", "x"], "no.toml"),
        (["evaluate", "no.tar", "--store", "{tmp}", "--dataset", "zz"], "hexadecimal"),
        (["predict", "no.tar", "no.png"], "no.tar cannot be read"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["loupe-trainer", *filled])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("loupe-trainer: ")
    assert said in error
    assert "Traceback" not in error


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, trainer.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
