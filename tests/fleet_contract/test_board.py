"""Facts about `board.toml`."""

from pathlib import Path

import pytest

from fleet_contract.board import Board, read_board
from fleet_contract.errors import ConfigError
from fleet_contract.names import Precision, Runtime

GOOD = """
hardware = "x86-64-box"
runtime = "onnx"
precision = "int8"
threads = 2
memory_limit = "600MB"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "board.toml"
    path.write_text(text)
    return path


def test_a_board_is_read_with_its_units(tmp_path: Path) -> None:
    assert read_board(written(tmp_path, GOOD)) == Board.model_construct(
        hardware="x86-64-box",
        runtime=Runtime.ONNX,
        precision=Precision.INT8,
        threads=2,
        memory_limit=600_000_000,
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"600MB"', "600", r"memory_limit: .*such as '10MB'; found 600"),
        ('"600MB"', '"6MB"', r"memory_limit: .*greater than or equal to"),
        ('"onnx"', '"onx"', r"runtime: .*'onnx' or 'litert'"),
        ('"int8"', '"int4"', r"precision: .*'fp32' or 'int8'"),
        ("threads = 2", "threads = 0", r"threads: "),
        ("threads", "thread", r"threads: Field required"),
        ("threads = 2", "threads = 2\nturbo = true", r"turbo: Extra inputs are not permitted"),
        ("threads = 2", "threads = 2\nthreads = 3", r"TOML: Cannot overwrite a value"),
        ('"x86-64-box"', '"../box"', r"hardware: "),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=rf"board\.toml is not .*{said}"):
        read_board(written(tmp_path, GOOD.replace(old, new, 1)))


def test_a_missing_board_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="firmware_configs render"):
        read_board(tmp_path / "board.toml")
