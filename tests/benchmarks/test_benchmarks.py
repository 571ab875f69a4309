"""The benchmarks can be asked for, refuse what they cannot read, and are described."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.support.bundle import padded
from fleet_contract import archive
from tests.support.imports import ROOT
from tests.support.tiny_bundle import tiny_bundle

PROGRAMS = sorted((ROOT / "benchmarks").glob("*.py"))


def call(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # A narrow or colourful terminal would break the words that are looked for.
    environment = {**os.environ, "TERM": "dumb", "COLUMNS": "200"}
    command = [sys.executable, str(program), *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=environment
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_a_benchmark_says_how_it_is_called(program: Path) -> None:
    done = call(program, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_the_page_names_every_benchmark() -> None:
    page = (ROOT / "docs/benchmarks.md").read_text()
    assert [program.name for program in PROGRAMS if f"benchmarks/{program.name}" not in page] == []


def test_a_folder_without_a_story_is_refused_with_a_remedy(tmp_path: Path) -> None:
    done = call(ROOT / "benchmarks/first_verdict.py", "--dir", str(tmp_path))
    assert done.returncode == 2
    assert "--play" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_padded_bundle_is_a_bundle_of_the_size_that_was_asked_for() -> None:
    _, small = tiny_bundle()
    manifest, files = archive.read(padded(small, 100_000))
    assert sum(map(len, files.values())) == pytest.approx(100_000, rel=0.2)
    assert manifest.golden == archive.read(small)[0].golden
