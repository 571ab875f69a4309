"""The crashing models end the process that loads them, and by a signal."""

import subprocess
import sys
from pathlib import Path

import pytest

from hil.story.crash import crashing_models

LOAD = """
import sys
from pathlib import Path
from fleet_contract.inference.runtime import load_model
from fleet_contract.manifest import ModelFile
path = Path(sys.argv[1])
load_model(path.parent, ModelFile(runtime=sys.argv[2], precision="fp32", file=path.name,
           dtype="float32", layout="nchw", score_tolerance=0.1))
"""


@pytest.mark.parametrize("runtime", ["onnx", "litert"])
def test_loading_it_ends_the_process_with_a_signal(runtime: str, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(crashing_models()[runtime])
    command = [sys.executable, "-c", LOAD, str(path), runtime]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode < 0, done.stderr.decode()
