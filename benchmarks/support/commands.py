"""The trainer's commands, called as a user calls them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hil.story.world import program

_GATES_MISSED = 3


def trainer(folder: Path, *words: str) -> dict[str, Any]:
    """The JSON that a command of `loupe-trainer` prints on its last line; ends where it fails."""
    command = [program("loupe-trainer"), *words, "--json"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, _GATES_MISSED):
        sys.exit(f"loupe-trainer {words[0]} failed with {done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1]))
