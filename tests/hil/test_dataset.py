"""Facts about written data sets."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fleet_contract.errors import ConfigError
from hil.cli import app
from hil.dataset import DatasetSpec, write_dataset
from hil.render import DEFECT_KINDS

SPEC = DatasetSpec(parts=40, seed=5, defect_rate=0.4, size=64)


def manifest(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_part_has_an_image_and_only_defective_ones_a_mask(tmp_path: Path) -> None:
    assert write_dataset(tmp_path, SPEC) == 40
    rows = manifest(tmp_path)
    assert list(rows[0]) == ["image", "mask", "label", "group", "light"]
    assert len({row["group"] for row in rows}) == 40
    assert 8 <= sum(row["label"] != "good" for row in rows) <= 24
    for row in rows:
        assert row["label"] in ("good", *DEFECT_KINDS)
        assert (row["mask"] == "") == (row["label"] == "good")
        image = cv2.imread(str(tmp_path / row["image"]))
        assert image is not None
        assert image.shape == (64, 64, 3)
    masks = {f"masks/{path.name}" for path in (tmp_path / "masks").iterdir()}
    assert masks == {row["mask"] for row in rows if row["mask"]}


def test_a_mask_is_black_and_white_and_not_empty(tmp_path: Path) -> None:
    write_dataset(tmp_path, SPEC)
    for path in (tmp_path / "masks").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert set(np.unique(mask)) == {0, 255}


def test_the_same_specification_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_dataset(tmp_path / name, SPEC)
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) > 40
    for path in files:
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


def test_a_dim_share_is_dim_and_says_so(tmp_path: Path) -> None:
    write_dataset(tmp_path, DatasetSpec(parts=60, seed=5, dim_share=0.5, size=64))
    means: dict[bool, list[float]] = {True: [], False: []}
    for row in manifest(tmp_path):
        light = float(row["light"])
        assert 0.45 <= light <= 0.75 or 0.92 <= light <= 1.05
        image = cv2.imread(str(tmp_path / row["image"]))
        assert image is not None
        means[light < 0.8].append(float(image.mean()))
    assert len(means[True]) > 15
    assert max(means[True]) < min(means[False])


def test_a_data_set_is_never_written_over_another(tmp_path: Path) -> None:
    write_dataset(tmp_path, SPEC)
    with pytest.raises(ConfigError, match="holds a data set already"):
        write_dataset(tmp_path, SPEC)


def test_the_command_writes_what_it_says(tmp_path: Path) -> None:
    out = tmp_path / "set"
    arguments = ["dataset", str(out), "--parts", "3", "--size", "64", "--light", "0.5"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert result.stdout.startswith("3 images in ")
    assert all(0.46 <= float(row["light"]) <= 0.525 for row in manifest(out))
