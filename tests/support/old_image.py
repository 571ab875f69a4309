"""The environment that stands for an old image: tflite-runtime, numpy 1, OpenCV 4."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.imports import ROOT


def old_python() -> Path:
    """Its interpreter. The test fails where the environment is not there."""
    python = ROOT / ".venv-tflite" / "bin" / "python"
    if not python.exists():
        pytest.fail(
            f"{python} is missing: `make setup-dev` makes it, of Python 3.11 (the last that "
            "tflite-runtime has packages for)"
        )
    return python


def run_there(*words: str, **environment: str) -> str:
    """What its Python prints; where that fails, the test does, with all that was printed."""
    there = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run(
        [str(old_python()), *words], cwd=ROOT, env=there, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"on an old image:\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout
