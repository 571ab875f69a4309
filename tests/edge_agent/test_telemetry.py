"""Nothing that inspects tells anybody of it: runtimes and OpenCV open no connection, ask no name server."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.imports import ROOT
from tests.support.tiny_bundle import red_mean_model
from tests.support.tiny_litert import mean_model

OUTSIDE = re.compile(r"AF_INET6?\b|AF_NETLINK|nscd")

_JUDGES = """
import sys
from pathlib import Path
from fleet_contract.inference.features import frame_statistics
from fleet_contract.inference.preprocess import decode_image, encode_png, preprocess, to_tensor
from fleet_contract.inference.runtime import load_model
from fleet_contract.manifest import ModelFile, Preprocess
import numpy as np
path, runtime, layout = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
file = ModelFile(runtime=runtime, precision="fp32", file=path.name, dtype="float32", layout=layout,
                 score_tolerance=0.02)
model = load_model(path.parent, file, threads=2)
noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
frame = decode_image(encode_png(noise), 3)
tensor = to_tensor(preprocess(frame, Preprocess(height=32, width=32, channel_order="rgb")), file)
for _ in range(50):
    score = model.run(tensor).score
frame_statistics(frame, None)
print(score)
"""
_CALLS = "import socket; socket.socket().connect_ex(('127.0.0.1', 9)); print(1)"


def outside(log: Path, code: str, *words: str) -> list[str]:
    """Calls to the network, of a program and all that it starts; it has to end well."""
    command = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(log), sys.executable,
               "-c", code, *words]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0
    return [line for line in log.read_text().splitlines() if OUTSIDE.search(line)]


@pytest.mark.parametrize(("runtime", "layout"), [("onnx", "nchw"), ("litert", "nhwc")])
def test_import_load_and_judge_without_a_call_to_the_network(
    tmp_path: Path, runtime: str, layout: str
) -> None:
    model = tmp_path / f"model.{runtime}"
    model.write_bytes(red_mean_model(10.0, 0.0) if runtime == "onnx" else mean_model())
    assert outside(tmp_path / "calls", _JUDGES, str(model), runtime, layout) == []


def test_a_call_to_the_network_would_be_seen(tmp_path: Path) -> None:
    assert len(outside(tmp_path / "calls", _CALLS)) >= 2
