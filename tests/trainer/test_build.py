"""From data to a bundle that a device can load: one small training, looked at from all sides."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fleet_contract import archive
from fleet_contract.clock import SystemClock
from fleet_contract.errors import BundleError, ConfigError
from fleet_contract.inference.golden import failures, self_test
from fleet_contract.inference.model import BundleModel
from fleet_contract.inference.preprocess import decode_image
from fleet_contract.manifest import Manifest, Reference
from fleet_contract.names import Precision, Runtime, Verdict
from tests.trainer.conftest import World
from trainer import bundle
from trainer.build import Builder, divide, judge_archive
from trainer.config import ThresholdTable, parse_config
from trainer.judge import PRIMARY, judge
from trainer.member import TorchMember
from trainer.network import make_network
from trainer.samples import load_samples
from trainer.training import StoppedError

MODELS = [(runtime, precision) for runtime in Runtime for precision in Precision]


def model_of(world: World, runtime: Runtime, precision: Precision) -> BundleModel:
    return BundleModel(world.folder, world.manifest, runtime, precision)


def with_order(manifest: Manifest, order: str) -> Manifest:
    """The manifest with another channel order, as a careless hand would leave it."""
    spec = manifest.preprocess.model_copy(update={"channel_order": order})
    return manifest.model_copy(update={"preprocess": spec})


def test_the_bundle_is_read_as_it_was_made(world: World) -> None:
    manifest, files = archive.read(world.built.archive)
    assert archive.pack(manifest, files) == world.built.archive
    assert manifest.line == world.version.line
    assert manifest.classes == ["scratch", "stain"]
    assert len(manifest.models) == 4


def test_it_has_learnt_the_line(world: World) -> None:
    for figures in world.built.evaluation["models"].values():
        assert figures["image_auroc"] > 0.9


@pytest.mark.parametrize(("runtime", "precision"), MODELS)
def test_every_model_passes_its_golden_self_test(
    world: World, runtime: Runtime, precision: Precision
) -> None:
    assert failures(self_test(model_of(world, runtime, precision), world.folder)) == ""


@pytest.mark.parametrize(("runtime", "precision"), MODELS)
def test_swapped_channels_break_the_golden_self_test(
    world: World, runtime: Runtime, precision: Precision
) -> None:
    manifest = with_order(world.manifest, "bgr")
    model = BundleModel(world.folder, manifest, runtime, precision)
    assert "golden samples differ" in failures(self_test(model, world.folder))


def test_golden_samples_have_both_verdicts_well_away_from_the_threshold(world: World) -> None:
    golden, threshold = world.manifest.golden, world.manifest.decision.threshold
    verdicts = [sample.verdict for sample in golden]
    assert verdicts.count(Verdict.ACCEPT) >= 2
    assert verdicts.count(Verdict.REJECT) >= 2
    for sample in golden:
        assert set(sample.scores) == {f"{r}/{p}" for r, p in MODELS}
        assert all(abs(score - threshold) > 0.2 for score in sample.scores.values())


def test_fp32_models_of_both_runtimes_say_the_same(world: World) -> None:
    models = [model_of(world, runtime, Precision.FP32) for runtime in Runtime]
    for sample in world.manifest.golden:
        frame = decode_image((world.folder / sample.file).read_bytes(), 3)
        onnx, litert = (model.judge(frame) for model in models)
        assert onnx.score == pytest.approx(litert.score, abs=1e-3)
        np.testing.assert_allclose(onnx.mask_logits, litert.mask_logits, atol=1e-2)


def test_the_report_has_the_keys_that_others_read(world: World) -> None:
    report = json.loads((world.folder / world.manifest.evaluation).read_text())
    assert report == json.loads(json.dumps(world.built.evaluation))
    assert {"image_auroc", "image_ap", "pixel_ap", "f1", "threshold", "escape", "overkill", "slices",
            "flips", "latency_ms", "size_bytes", "worst_slice", "models"} <= report.keys()  # fmt: skip
    assert set(report["models"]) == {f"{r}/{p}" for r, p in MODELS}
    assert {"rate", "low", "high"} <= report["escape"].keys()
    assert set(report["flips"]) == {"onnx", "litert"}
    assert set(report["slices"]["shift"]) == {"day", "night"}


def test_the_reference_is_of_training_frames_and_holdout_scores(world: World) -> None:
    text = (world.folder / world.manifest.reference).read_text()
    window = Reference.model_validate_json(text).window
    sides = divide(world.version, ThresholdTable(), 0)
    assert window.sampled_frames == len(sides.fit)
    assert window.features["mean"].histogram().finite == len(sides.fit)
    assert window.score.histogram().finite == len(sides.holdout)


def test_the_lineage_leads_back_to_data_and_configuration(world: World) -> None:
    lineage = world.manifest.lineage
    assert lineage.dataset == world.version.digest()
    assert lineage.config == world.config.digest()
    assert lineage.environment["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("table", "good_parts", "share"),
    [
        (ThresholdTable(overkill_at_most=0.02), 140, 0.35),  # 49 parts
        (ThresholdTable(overkill_at_most=0.02), 1000, 0.2),
        (ThresholdTable(overkill_at_most=0.02), 20, 0.35),
        (ThresholdTable(overkill_at_most=0.1), 30, 0.3),  # 9 parts
        (ThresholdTable(promise="escape"), 30, 0.2),
        (ThresholdTable(calibration_share=0.5), 30, 0.5),
    ],
)
def test_as_many_good_parts_are_kept_out_as_the_promise_needs(
    table: ThresholdTable, good_parts: int, share: float
) -> None:
    assert table.kept_out(good_parts) == pytest.approx(share)


def test_the_threshold_is_chosen_on_parts_that_were_not_trained_on(world: World) -> None:
    sides = divide(world.version, ThresholdTable(), 0)
    groups = [
        {item.group for item in side} for side in (sides.fit, sides.calibration, sides.holdout)
    ]
    assert not groups[0] & groups[1]
    assert not (groups[0] | groups[1]) & groups[2]
    assert {item.label for item in sides.calibration} == {"good"}
    promise = world.manifest.decision.promise
    assert promise["good_parts"] == len(sides.calibration)
    # So few parts cannot promise 2 %: what is promised is what they can.
    assert promise["overkill_at_most"] == pytest.approx(1 / (1 + len(sides.calibration)), abs=1e-4)


def test_the_build_tells_how_far_it_is(world: World) -> None:
    shares = [share for share, _ in world.said]
    assert shares == sorted(shares)
    assert {message.split(":")[0] for _, message in world.said} == {
        "looking at the data set", "reading images", "training", "exporting and quantizing", "measuring on the holdout",
        "packing",
    }  # fmt: skip


def test_a_build_that_is_told_to_stop_stops(world: World) -> None:
    builder = Builder(
        world.config, world.store, world.version, SystemClock(),
        lambda _share, message: message.startswith("training"),
    )  # fmt: skip
    with pytest.raises(StoppedError):
        builder.build()


def test_a_model_that_disagrees_on_a_golden_sample_stops_the_bundle(
    world: World, tmp_path: Path
) -> None:
    manifest, files = archive.read(world.built.archive)
    made = bundle.Draft(tmp_path, manifest, files)
    blank = make_network("light", 3, 0.5)
    with torch.no_grad():
        blank.final.weight.zero_()
        blank.final.bias.fill_(-4.0)
    pictures = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8)
    member = TorchMember(blank, blank.final)
    member.settle(pictures)
    member.export(tmp_path, 0, pictures, 1.0)
    name = "model/int8.tflite"
    made.files |= {name: (tmp_path / name).read_bytes()}
    made.write()
    with pytest.raises(BundleError, match="the export to litert/int8 is wrong"):
        bundle.score_golden(made)


def test_a_packed_bundle_judges_as_the_unpacked_one(world: World) -> None:
    samples = load_samples(world.store, world.version.side("holdout"))
    packed = judge_archive(world.built.archive, samples)
    unpacked = judge(world.folder, world.manifest, PRIMARY, samples)
    np.testing.assert_array_equal(packed.scores, unpacked.scores)


def test_swapped_channels_change_many_verdicts(world: World) -> None:
    samples = load_samples(world.store, world.version.side("holdout"))
    right = judge(world.folder, world.manifest, PRIMARY, samples)
    wrong = judge(world.folder, with_order(world.manifest, "bgr"), PRIMARY, samples)
    assert (right.rejected != wrong.rejected).mean() >= 0.2


def test_a_configuration_of_another_line_is_refused(world: World) -> None:
    config = parse_config('[line]\nname = "other"\n', "x")
    with pytest.raises(ConfigError, match="different lines"):
        Builder(config, world.store, world.version, SystemClock(), lambda _share, _message: False)


def test_a_grey_configuration_on_colour_images_is_refused(world: World) -> None:
    config = parse_config('[line]\nname = "discs"\n[input]\nchannels = 1\n', "x")
    with pytest.raises(ConfigError, match="channels does not fit"):
        Builder(config, world.store, world.version, SystemClock(), lambda _share, _message: False)
