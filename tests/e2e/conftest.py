"""One short story for all tests that look at it: it is real, and so takes minutes."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROGRAM = str(Path(sys.executable).parent / "loupe-hil")


@dataclass(frozen=True)
class Story:
    """A story that was played to its end."""

    folder: Path
    output: str
    status: int

    @property
    def report(self) -> dict[str, Any]:
        """What it wrote."""
        content: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return content


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """`loupe-hil demo --headless --story short`, played once."""
    folder = tmp_path_factory.mktemp("story")
    done = subprocess.run(
        [PROGRAM, "demo", "--headless", "--story", "short", "--port", "0", "--dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=480,
    )
    return Story(folder, done.stdout + done.stderr, done.returncode)
