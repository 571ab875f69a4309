"""Where the public data sets lie that some tests read; they are not part of the repository."""

import os
from pathlib import Path

import pytest

from tests.support.imports import ROOT

DATA = "LOUPE_DATA"


def magnetic_tile() -> Path:
    """Folder of the magnetic-tile-defect data set: `MT_Blowhole`, ..., `MT_Free`.

    Looked for in the folder that LOUPE_DATA names, else in `../shared/data`. Where it is missing
    the test is skipped with that reason, but fails in CI, which must not pass by skipping.
    """
    found = Path(os.environ.get(DATA, ROOT.parent / "shared" / "data")) / "magnetic-tile"
    if (found / "MT_Free").is_dir():
        return found
    reason = f"needs the magnetic-tile data set in {found} ({DATA} names the folder above it)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
