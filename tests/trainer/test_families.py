"""Bundles of every family, through the whole build: statistical, good only, plugin, ensemble, tiles."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from fleet_contract import archive
from fleet_contract.clock import SystemClock
from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import ConfigError, DataError, ModelError
from fleet_contract.inference.golden import failures, self_test
from fleet_contract.inference.model import BundleModel
from fleet_contract.manifest import Manifest
from fleet_contract.names import Precision, Runtime, Verdict
from tests.trainer.conftest import CONFIG
from trainer.build import Builder, Built
from trainer.config import parse_config
from trainer.data.images import load_frame
from trainer.data.store import Store
from trainer.judge import PRIMARY, judge, keys_of
from trainer.measures import auroc
from trainer.runs.values import changed
from trainer.samples import load_samples
from trainer.training import StoppedError

Stored = tuple[Store, DatasetVersion]


def build(
    stored: Stored, tmp_path: Path, more: str = "", **changes: object
) -> tuple[Built, Manifest, Path]:
    """A bundle by the tests' configuration with `more` and `table__key` changed, unpacked."""
    store, version = stored
    values = {name.replace("__", "."): value for name, value in changes.items()}
    config = changed(parse_config(CONFIG + more, "x"), {"train.epochs": 12, **values}, "test")
    built = Builder(config, store, version, SystemClock(), lambda _share, _text: False).build()
    folder = tmp_path / "bundle"
    return built, archive.unpack(built.archive, folder), folder


def check_golden(manifest: Manifest, folder: Path) -> None:
    for runtime, precision in keys_of(manifest):
        model = BundleModel(folder, manifest, runtime, precision)
        assert failures(self_test(model, folder)) == ""


def without_limits(manifest: Manifest) -> Manifest:
    """The score alone decides."""
    decision = manifest.decision.model_copy(update={"acceptance": None})
    return manifest.model_copy(update={"decision": decision})


def only_good(stored: Stored, tmp_path: Path) -> Stored:
    """The good parts alone, in a store of their own."""
    shared, version = stored
    shutil.copytree(shared.folder, tmp_path / "store")
    store = Store(tmp_path / "store")
    good = [item for item in version.items if item.label == "good"]
    version = version.model_copy(update={"items": good})
    store.put_version(version)
    return store, version


@pytest.fixture(scope="module")
def rich(stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, Manifest, Path]:
    """Two members, tiles, limits of acceptance, and an int8 that may change no score: all at once."""
    return build(
        stored, tmp_path_factory.mktemp("rich"), train__members=2, train__ensemble="mean",
        input__tiles=[2, 2], input__overlap="32px", quantize__max_change=1e-6, train__epochs=20,
        more="[acceptance]\nmm_per_pixel = 0.1\nlimits = [{ max_count = 99 }]\n",
    )  # fmt: skip


def test_members_of_an_ensemble_are_judged_together(rich: tuple[Built, Manifest, Path]) -> None:
    built, manifest, folder = rich
    assert [m.member for m in manifest.models_for(Runtime.ONNX, Precision.INT8)] == [0, 1]
    assert {"training/weights-0.npz", "training/weights-1.npz"} <= manifest.files.keys()
    assert built.evaluation["image_auroc"] > 0.8
    check_golden(manifest, folder)


def test_tiles_and_the_whole_are_judged_by_the_same_graph(
    rich: tuple[Built, Manifest, Path],
) -> None:
    built, manifest, folder = rich
    tiling = manifest.preprocess.tiling
    assert tiling is not None
    assert manifest.preprocess.canvas == (96, 96)
    assert built.evaluation["image_auroc"] > 0.8
    check_golden(manifest, folder)


def test_a_statistical_head_is_fitted_to_good_parts_in_seconds(
    stored: Stored, tmp_path: Path
) -> None:
    built, manifest, folder = build(stored, tmp_path, train__family="statistical")
    assert built.evaluation["image_auroc"] > 0.7
    assert len(manifest.models) == 4
    check_golden(manifest, folder)


def test_a_line_that_has_shown_no_defect_is_learnt_from_good_parts(
    stored: Stored, tmp_path: Path
) -> None:
    _, manifest, folder = build(
        only_good(stored, tmp_path),
        tmp_path,
        train__family="good_only",
        train__epochs=250,
        quantize__calibration_images=64,
    )
    assert manifest.classes == ["anomaly"]
    assert {s.verdict for s in manifest.golden} == {Verdict.ACCEPT, Verdict.REJECT}
    check_golden(manifest, folder)
    seen = load_samples(stored[0], stored[1].side("holdout"))
    found = auroc(judge(folder, manifest, PRIMARY, seen).scores, seen.defective)
    assert found is not None
    assert found > 0.7


def test_good_parts_alone_are_refused_where_defects_are_needed(
    stored: Stored, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="good_only"):
        build(only_good(stored, tmp_path), tmp_path)


def test_a_graph_from_outside_becomes_a_bundle_like_any_other(
    stored: Stored, tmp_path: Path
) -> None:
    built, manifest, folder = build(
        stored, tmp_path, train__family="plugin", train__plugin="tests.trainer.outside:mean_picture"
    )
    assert keys_of(manifest) == [(Runtime.ONNX, Precision.FP32), (Runtime.ONNX, Precision.INT8)]
    assert manifest.decision.threshold == 0.5
    assert set(built.evaluation["models"]) == {"onnx/fp32", "onnx/int8"}
    check_golden(manifest, folder)


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("tests.trainer.outside:missing", ConfigError, "cannot be imported"),
        ("no.such.package:f", ConfigError, "cannot be imported"),
        ("tests.trainer.outside:nothing", ModelError, "left no file"),
    ],
)
def test_a_plugin_that_fails_is_named(
    stored: Stored, tmp_path: Path, name: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        build(stored, tmp_path, train__family="plugin", train__plugin=name)


def test_limits_of_the_line_accept_what_the_score_alone_rejects(
    stored: Stored, rich: tuple[Built, Manifest, Path]
) -> None:
    _, manifest, folder = rich
    strict = without_limits(manifest)
    store, version = stored
    bad = [item for item in version.side("holdout") if item.label != "good"]
    frames = [load_frame(store, item, 3) for item in bad]
    lenient, alone = (
        [BundleModel(folder, m, Runtime.ONNX, Precision.INT8).judge(frame) for frame in frames]
        for m in (manifest, strict)
    )
    rejected = [one for one in alone if one.verdict is Verdict.REJECT]
    kept = [one for one in lenient if one.verdict is Verdict.REJECT]
    assert len(rejected) > len(kept)
    assert all(not one.defects for one in kept)
    assert any(defect.kind in manifest.classes for one in lenient for defect in one.defects)


def test_layers_that_int8_hurts_stay_float_and_are_named(
    rich: tuple[Built, Manifest, Path],
) -> None:
    quantization = rich[0].evaluation["quantization"]["member 0"]
    assert 4 <= len(quantization["onnx"]["float_layers"]) <= 13
    assert len(quantization["litert"]["float_layers"]) > 1
    assert quantization["onnx"]["mean_score_change"] >= 0


def test_a_killed_build_goes_on_from_its_checkpoint(stored: Stored, tmp_path: Path) -> None:
    store, version = stored
    config = changed(parse_config(CONFIG, "x"), {"train.epochs": 6}, "test")
    state = tmp_path / "state"

    class HalfwayError(Exception):
        """Stands for the end of the process."""

    def dies(share: float, _message: str) -> bool:
        if share > 0.5:
            raise HalfwayError
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.checkpoint.EVERY_S", 0.0)
        with pytest.raises(HalfwayError):
            Builder(config, store, version, SystemClock(), dies, checkpoint=state).build()
    assert state.is_file()
    said: list[str] = []

    def told(_share: float, message: str) -> bool:
        said.append(message)
        return message.startswith("exporting")

    with pytest.raises(StoppedError):
        Builder(config, store, version, SystemClock(), told, checkpoint=state).build()
    steps = [int(m.split("step ")[1].split(",")[0]) for m in said if m.startswith("training")]
    assert steps[0] > 5
    assert np.all(np.diff(steps) == 1)
