"""LiteRT's half of the runtime adapter; run here with LiteRT, and by `test_old_runtime` without.

So it takes its model from a file that `LITERT_MODEL` names, where what makes one is not installed.
"""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from fleet_contract.archive import file_entries
from fleet_contract.errors import ModelError
from fleet_contract.inference.golden import failures, self_test
from fleet_contract.inference.model import BundleModel
from fleet_contract.inference.preprocess import decode_image, encode_png, preprocess, to_tensor
from fleet_contract.inference.runtime import PACKAGES, installed, load_model
from fleet_contract.manifest import Manifest, ModelFile, Preprocess
from fleet_contract.names import Precision, Runtime, Verdict
from tests.fleet_contract.bundles import manifest

SIDE = 32
FILE = ModelFile(runtime=Runtime.LITERT, precision=Precision.FP32, file="model/fp32.tflite",
                 dtype="float32", layout="nhwc", score_tolerance=0.02)  # fmt: skip
WHITE = np.full((40, 50, 3), 255, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle, unpacked: its score is sigmoid(mean of the picture), so black says one half."""
    for name in ("model", "golden"):
        (tmp_path / name).mkdir()
    given = os.environ.get("LITERT_MODEL")
    if given:
        shutil.copy(given, tmp_path / FILE.file)
    else:
        from tests.support.tiny_litert import mean_model

        (tmp_path / FILE.file).write_bytes(mean_model())
    (tmp_path / "golden/0.png").write_bytes(encode_png(WHITE * 0))
    (tmp_path / "golden/1.png").write_bytes(encode_png(WHITE))
    return tmp_path


def bundle(*, black: float = 0.5) -> Manifest:
    """The folder's manifest; `black`: golden score of the black sample."""
    made = manifest(
        models=[FILE.model_dump()],
        preprocess={"height": SIDE, "width": SIDE, "channel_order": "rgb"},
        decision={"threshold": 0.9},
        golden=[
            {"file": "golden/0.png", "verdict": "accept", "scores": {"litert/fp32": black}},
            {"file": "golden/1.png", "verdict": "reject", "scores": {"litert/fp32": 1.0}},
        ],
        files={
            name: entry.model_dump()
            for name, entry in file_entries(
                dict.fromkeys(
                    (
                        FILE.file,
                        "golden/0.png",
                        "golden/1.png",
                        "reference.json",
                        "evaluation.json",
                    ),
                    b"x",
                )
            ).items()
        },
    )
    return Manifest.model_validate(made)


def judge(folder: Path, content: Manifest, threads: int = 1) -> BundleModel:
    return BundleModel(folder, content, Runtime.LITERT, Precision.FP32, threads=threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_score_and_map_are_those_of_the_picture(folder: Path, threads: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 3, (SIDE, SIDE, 3)).astype(np.uint8)
    output = load_model(folder, FILE, threads=threads).run(to_tensor(pixels, FILE))
    assert output.score == pytest.approx(1 / (1 + np.exp(-pixels.mean())), abs=1e-5)
    np.testing.assert_allclose(output.mask_logits, pixels.mean(2), atol=1e-5)
    assert output.kind_logits is None


@pytest.mark.parametrize("threads", [1, 2])
def test_golden_samples_are_judged_as_where_they_were_packed(folder: Path, threads: int) -> None:
    assert failures(self_test(judge(folder, bundle(), threads), folder)) == ""


def test_a_golden_sample_that_differs_is_told(folder: Path) -> None:
    told = failures(self_test(judge(folder, bundle(black=0.7)), folder))
    assert told.startswith("1 of 2 golden samples differ; golden/0.png")


def test_frames_of_any_size_are_decided_on(folder: Path) -> None:
    model = judge(folder, bundle())
    model.warm_up()
    found = [model.judge(frame).verdict for frame in (WHITE, WHITE[:9] * 0, WHITE[:, :20])]
    assert found == [Verdict.REJECT, Verdict.ACCEPT, Verdict.REJECT]


def test_a_tensor_of_another_shape_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="does not run"):
        load_model(folder, FILE).run(np.zeros((1, 8, 8, 3), np.float32))


def test_a_file_that_is_no_model_is_refused(folder: Path) -> None:
    (folder / FILE.file).write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"fp32\.tflite does not load"):
        load_model(folder, FILE)


def test_pictures_are_resized_in_the_graphs_channel_order() -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, 48:] = (250, 120, 10)
    spec = Preprocess(height=SIDE, width=SIDE, channel_order="bgr")
    pixels = preprocess(decode_image(encode_png(picture), 3), spec)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[-1, -1].tolist() == [10, 120, 250]


def test_a_frame_of_sixteen_bits_is_mapped_to_eight() -> None:
    frame = np.array([[0, 1000, 2000, 65535]], np.uint16).repeat(8, axis=0).repeat(2, axis=1)
    decoded = decode_image(cv2.imencode(".png", frame)[1].tobytes(), 1, 16)
    spec = Preprocess(height=8, width=8, channel_order="grey", levels=(1000, 3000))
    assert preprocess(decoded, spec)[0, ::2, 0].tolist() == [0, 0, 128, 255]


def test_litert_goes_before_its_older_name(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"ai_edge_litert", "tflite_runtime"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in there or None)
    assert installed(Runtime.LITERT) == "ai_edge_litert"
    there.remove("ai_edge_litert")
    assert installed(Runtime.LITERT) == "tflite_runtime"


def test_without_a_runtime_the_error_names_what_would_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PACKAGES, Runtime.LITERT, ("no_such_litert", "no_such_tflite"))
    with pytest.raises(ModelError, match=r"no_such_litert or no_such_tflite.*agent-tflite"):
        load_model(folder, FILE)
