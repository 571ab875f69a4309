"""Evaluation through the runtime that devices use, of a bundle whose answers are known beforehand."""

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fleet_contract import archive
from fleet_contract.dataset import MASK_SOMEWHERE, DatasetItem
from fleet_contract.errors import BundleError, ConfigError, DataError
from fleet_contract.inference.preprocess import encode_png
from fleet_contract.manifest import Manifest
from fleet_contract.names import Precision, Runtime
from tests.support.tiny_bundle import TinySpec, tiny_bundle
from tests.trainer.pictures import SIZE, read_rows, write_holdout, write_picture, write_rows
from trainer import evaluation, footprint
from trainer.cli import app
from trainer.data.store import Store
from trainer.judge import first_key, judge
from trainer.samples import Samples, csv_samples, holdout_digest, load_samples

KEY = (Runtime.ONNX, Precision.FP32)
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """The tiny bundle, unpacked."""
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    return folder, archive.unpack(tiny_bundle()[1], folder)


@pytest.fixture(scope="module")
def holdout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 good parts, 8 defects that are found, 4 that are missed."""
    return write_holdout(tmp_path_factory.mktemp("holdout"))


def copied(holdout: Path, folder: Path, rows: list[dict[str, str]]) -> Path:
    """A CSV of the same pictures with other rows."""
    for path in holdout.parent.glob("*.png"):
        os.link(path, folder / path.name)
    return write_rows(folder / "holdout.csv", rows)


@pytest.fixture(scope="module")
def report(bundle: tuple[Path, Manifest], holdout: Path) -> dict[str, Any]:
    return evaluation.evaluate(*bundle, csv_samples(holdout, holdout.parent))


def test_the_keys_that_others_read_are_there(report: dict[str, Any]) -> None:
    assert {
        "image_auroc", "image_ap", "pixel_ap", "aupro_30", "aupro_05", "f1", "f1_max", "threshold",
        "escape", "overkill", "slices", "flips", "latency_ms", "size_bytes", "holdout", "models",
        "worst_slice", "intervals", "calibration", "dppm", "recall", "memory_mb", "no_decision",
        "bias", "agreement", "decisions", "defects", "machine",
    } <= report.keys()  # fmt: skip
    assert {"rate", "low", "high"} <= report["escape"].keys() & report["overkill"].keys()
    assert {"p50", "p99"} == report["latency_ms"].keys()
    assert list(report["models"]) == [report["model"]] == ["onnx/fp32"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_what_is_found_and_missed_is_counted(report: dict[str, Any]) -> None:
    assert (report["escape"]["count"], report["escape"]["trials"]) == (4, 12)
    assert (report["overkill"]["count"], report["overkill"]["trials"]) == (0, 12)
    assert report["dppm"] == {"value": 4 / 16 * 1e6, "missed": 4, "passed": 16}
    assert report["image_auroc"] == 1.0
    assert report["f1"] == pytest.approx(2 * 8 / (8 + 12))
    assert report["f1_max"] == 1.0
    assert {name: rate["rate"] for name, rate in report["recall"].items()} == {
        "narrow": 0.0, "wide": 1.0,
    }  # fmt: skip


def test_heat_is_measured_at_the_frames_own_size(report: dict[str, Any]) -> None:
    # The graph sees 32x32 of 48x64: what is lost is a column of pixels at the border.
    assert report["pixel_ap"] > 0.98
    assert report["aupro_30"] > 0.95
    assert report["aupro_05"] <= report["aupro_30"]
    assert report["models"]["onnx/fp32"]["pixel_ap"] == report["pixel_ap"]


def test_slices_by_column_class_and_size_stand_with_their_numbers(report: dict[str, Any]) -> None:
    assert set(report["slices"]) == {"site", "defect", "defect_size"}
    assert report["slices"]["site"]["north"]["n"] == 12
    assert set(report["slices"]["defect_size"]) == {"small", "medium", "large"}
    assert report["slices"]["defect_size"]["small"]["escape"]["rate"] == 1.0
    assert report["defect_size"]["small_at_most"] < report["defect_size"]["medium_at_most"]
    assert report["worst_slice"]["n"] >= 10
    assert report["defects"] == {"narrow": 1.0, "wide": 1.0}


def test_intervals_hold_what_was_measured(report: dict[str, Any]) -> None:
    intervals = report["intervals"]
    assert intervals["by"] == "part"
    assert intervals["image_auroc"] == {"low": 1.0, "high": 1.0}
    assert intervals["pixel_ap"]["low"] <= report["pixel_ap"] <= intervals["pixel_ap"]["high"]


def test_people_stand_beside_the_model(report: dict[str, Any]) -> None:
    by_name = {one["name"]: one for one in report["agreement"]["appraisers"]}
    assert by_name["anna"]["effectiveness"]["rate"] == 1.0
    assert by_name["ben"]["miss_rate"]["count"] == by_name["onnx/fp32"]["miss_rate"]["count"] == 4
    assert report["agreement"]["human_level"]["all_agree"]["count"] == 20


def test_decisions_name_every_image(report: dict[str, Any], holdout: Path) -> None:
    rows = read_rows(holdout)
    assert [one["source"] for one in report["decisions"]] == [row["image"] for row in rows]
    verdicts = {one["source"]: one["verdict"] for one in report["decisions"]}
    assert verdicts["wide_012.png"] == "reject"
    assert verdicts["narrow_020.png"] == "accept"


def test_memory_is_that_of_the_model_alone(
    bundle: tuple[Path, Manifest], report: dict[str, Any]
) -> None:
    assert 0 < report["memory_mb"] < 200
    large = footprint.measure(*bundle, (4000, 4000))
    assert set(large) == {"onnx/fp32"}


def test_a_frame_that_breaks_the_schema_is_no_decision_and_said(
    bundle: tuple[Path, Manifest], holdout: Path, tmp_path: Path
) -> None:
    rows = read_rows(holdout)
    path = copied(holdout, tmp_path, [
        *rows, {**rows[-1], "image": "small.png", "mask": "", "part": "tiny"},
        {**rows[0], "image": "broken.png", "mask": "", "part": "broken"},
    ])  # fmt: skip
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((6, 40, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = evaluation.evaluate(*bundle, csv_samples(path, tmp_path))
    refused = found["no_decision"]
    assert (refused["count"], refused["defective"]) == (2, 1)
    assert [one["image"] for one in refused["images"]] == ["small.png", "broken.png"]
    assert "sides of 8 to 4096 pixels" in refused["images"][0]["why"]
    assert found["escape"]["trials"] == 12
    assert [one["verdict"] for one in found["decisions"][-2:]] == ["no_decision", "no_decision"]
    assert found["decisions"][-1]["score"] is None
    assert json.dumps(found, allow_nan=False)


def test_a_box_that_holds_a_defect_somewhere_is_left_out_of_pixel_measures(
    bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    write_picture(tmp_path, "a", 20)
    store = Store(tmp_path / "store")
    image = store.put((tmp_path / "a.png").read_bytes())
    masks = {
        name: store.put(encode_png(np.full(SIZE, value, np.uint8)))
        for name, value in (("box", MASK_SOMEWHERE), ("empty", 0))
    }
    exact = store.put((tmp_path / "a_mask.png").read_bytes())
    items = [
        DatasetItem(sha256=image, label=label, mask=mask, group=f"g{n}", split="holdout")
        for n, (label, mask) in enumerate(
            [("a", masks["box"]), ("a", masks["empty"]), ("a", None), ("a", exact), ("good", None)]
        )
    ]
    judged = judge(*bundle, KEY, load_samples(store, items))
    assert [one is not None for one in judged.pixels.images] == [False, False, False, True, True]
    assert judged.areas == [None, None, None, SIZE[0] * 20, 0]
    assert judged.pixels.components == 1


def test_a_mask_of_another_size_is_refused_by_name(
    bundle: tuple[Path, Manifest], holdout: Path, tmp_path: Path
) -> None:
    rows = [{**row, "mask": row["mask"] and "other.png"} for row in read_rows(holdout)]
    path = copied(holdout, tmp_path, rows)
    cv2.imwrite(str(tmp_path / "other.png"), np.full((10, 10), 255, np.uint8))
    with pytest.raises(DataError, match=r"mask of wide_012\.png has another size"):
        evaluation.evaluate(*bundle, csv_samples(path, tmp_path))


def test_the_csv_form_needs_no_masks_no_parts_and_no_slices(
    bundle: tuple[Path, Manifest], holdout: Path, tmp_path: Path
) -> None:
    rows = [{"image": row["image"], "defect": row["defect"]} for row in read_rows(holdout)]
    found = evaluation.evaluate(*bundle, csv_samples(copied(holdout, tmp_path, rows), tmp_path))
    assert found["image_auroc"] == 1.0
    assert (found["pixel_ap"], found["aupro_30"]) == (None, None)
    assert found["parts"] == found["images"] == 24
    assert set(found["slices"]) == {"defect"}
    assert found["agreement"] == {}


def test_good_parts_alone_have_an_overkill_and_no_auroc(
    bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    path = write_holdout(tmp_path, found=0, missed=0)
    found = evaluation.evaluate(*bundle, csv_samples(path, tmp_path))
    assert found["overkill"]["trials"] == 12
    assert (found["image_auroc"], found["escape"]["rate"]) == (None, None)


def test_masks_of_zeros_and_ones_are_masks(tmp_path: Path, holdout: Path) -> None:
    rows = read_rows(holdout)[12:13]
    path = copied(holdout, tmp_path, [{**rows[0], "mask": "ones.png"}])
    cv2.imwrite(str(tmp_path / "ones.png"), np.eye(*SIZE, dtype=np.uint8))
    mask = csv_samples(path, tmp_path).mask(0, SIZE)
    assert mask is not None
    assert mask.sum() == SIZE[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("picture,defect\na.png,\n", "lacks a column; expected image"),
        ("image,defect\n", "names no image"),
        ("", "expected image, defect; found an empty file"),
        ("image,defect\nnone.png,\n", "line 2 of"),
        ("image,defect\na.png\n", "another number of cells"),
        ("image,mask,defect\na.png,no.png,x\n", "names a file that is not there"),
    ],
)
def test_a_csv_that_cannot_be_used_says_why(content: str, said: str, tmp_path: Path) -> None:
    write_picture(tmp_path, "a", 0)
    path = tmp_path / "holdout.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        csv_samples(path, tmp_path)


def test_only_what_is_asked_for_is_measured(bundle: tuple[Path, Manifest], holdout: Path) -> None:
    samples = csv_samples(holdout, holdout.parent)
    found = evaluation.evaluate(*bundle, samples, Runtime.ONNX, Precision.FP32)
    assert list(found["models"]) == ["onnx/fp32"]
    with pytest.raises(BundleError, match="no model for litert/any; found onnx/fp32"):
        evaluation.evaluate(*bundle, samples, Runtime.LITERT)
    assert first_key(bundle[1]) == KEY


def test_the_holdouts_digest_is_of_images_and_labels_in_any_order(holdout: Path) -> None:
    items = csv_samples(holdout, holdout.parent).items
    assert holdout_digest(items) == holdout_digest(items[::-1])
    assert holdout_digest(items) != holdout_digest(items[1:])
    turned = items[0].model_copy(update={"label": "wide"})
    assert holdout_digest(items) != holdout_digest([turned, *items[1:]])


def test_watching_tells_how_far_it_is(bundle: tuple[Path, Manifest], holdout: Path) -> None:
    said: list[tuple[int, int]] = []
    samples = csv_samples(holdout, holdout.parent)
    evaluation.evaluate(*bundle, samples, tick=lambda done, total: said.append((done, total)))
    assert said == [(n, 24) for n in range(1, 25)]


def call(*arguments: object) -> str:
    """Standard output of a command that succeeds."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tiny bundle, and one that rejects at a lower score and so finds what the first misses."""
    folder = tmp_path_factory.mktemp("files")
    made = []
    for name, spec in (("a", TinySpec()), ("b", TinySpec(name="two", bias=2.0))):
        (folder / f"{name}.tar").write_bytes(tiny_bundle(spec)[1])
        made.append(folder / f"{name}.tar")
    return made[0], made[1]


def test_evaluate_takes_a_csv_that_no_store_has_seen(
    files: tuple[Path, Path], holdout: Path
) -> None:
    shared = ("evaluate", files[0], "--csv", holdout, "--root", holdout.parent)
    said = json.loads(call(*shared, "--json"))
    assert said["escape"]["count"] == 4
    assert "onnx/fp32" in call(*shared)


def test_compare_says_which_of_two_bundles_is_better(
    files: tuple[Path, Path], holdout: Path, tmp_path: Path
) -> None:
    shared = ("--csv", holdout, "--root", holdout.parent)
    said = json.loads(call("compare", *files, *shared, "--json"))
    assert said["verdicts"] == {"challenger_right": 4, "champion_right": 0, "p_value": 0.125}
    assert said["escape"]["only_challenger_rejects"] == 4
    # Both rank alike: nothing but four verdicts tells them apart.
    assert said["outcome"] == "not_worse"
    evaluations = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, bundle in zip(evaluations, files, strict=True):
        path.write_text(call("evaluate", bundle, *shared, "--json"))
    again = json.loads(call("compare", *evaluations, "--json"))
    assert again == said
    assert call("compare", *evaluations).startswith("not_worse: AUROC")


def test_different_holdouts_refuse_to_be_compared(
    files: tuple[Path, Path], holdout: Path, tmp_path: Path
) -> None:
    other = copied(holdout, tmp_path, read_rows(holdout)[1:])
    evaluations = []
    for name, path in (("a", holdout), ("b", other)):
        text = call("evaluate", files[0], "--csv", path, "--root", path.parent, "--json")
        evaluations.append(tmp_path / f"{name}.json")
        evaluations[-1].write_text(text)
    with pytest.raises(DataError, match="different holdouts and cannot be compared"):
        call("compare", *evaluations)
    evaluations[1].write_text("{}")
    with pytest.raises(DataError, match="evaluation B cannot be compared"):
        call("compare", *evaluations)


@pytest.mark.parametrize("extra", [(), ("--dataset", "0" * 8, "--csv", "x.csv")])
def test_one_source_of_images_must_be_named(
    files: tuple[Path, Path], extra: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match="either --dataset or --csv"):
        call("evaluate", files[0], *extra)


def test_samples_are_read_when_they_are_judged(holdout: Path) -> None:
    samples: Samples = csv_samples(holdout, holdout.parent)
    assert samples.image(0) == (holdout.parent / samples.items[0].source).read_bytes()
    assert [item.label for item in samples.items[:2]] == ["good", "good"]
