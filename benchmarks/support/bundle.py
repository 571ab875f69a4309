"""The bundle that is measured with: trained once, briefly, on rendered parts; padded where size counts."""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import typer

from fleet_contract import archive
from hil.story.acts_model import training_config
from hil.story.settings import LINE
from hil.story.world import program

KEPT = Path("build/bench")
_PARTS, _BUDGET_S = 120, 10
_PICTURE, _VIEW = 256, 128


def small_bundle(given: Path | None = None, *, picture: int = _PICTURE, view: int = _VIEW) -> bytes:
    """A bundle's archive: `given`, or one that is trained when first asked for and kept in build/.

    It is of pictures of `picture` pixels a side, and its network looks at `view` x `view`.
    """
    path = given or KEPT / f"bundle-{picture}-{view}.tar"
    if given is None and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _train(path, picture, view)
    return path.read_bytes()


def _train(out: Path, picture: int, view: int) -> None:
    typer.echo(f"training a bundle for the benchmarks, kept as {out}", err=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, store, config = folder / "images", folder / "store", folder / "line.toml"
        # As many views learnt from, whatever their size.
        config.write_text(training_config(_BUDGET_S * (view // _VIEW) ** 2, view))
        _call("loupe-hil", "dataset", images, "--parts", _PARTS, "--seed", 7, "--size", picture)
        imported = _call(
            "loupe-trainer", "import", images, "--line", LINE, "--store", store, "--json"
        )
        dataset = json.loads(imported.splitlines()[-1])["digest"]
        made = folder / "bundle.tar"
        _call(
            "loupe-trainer", "train", config, "--store", store, "--dataset", dataset, "--out", made
        )
        out.write_bytes(made.read_bytes())


def _call(name: str, *words: object) -> str:
    done = subprocess.run(
        [program(name), *map(str, words)], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{name} ended with status {done.returncode}")
    return done.stdout


def padded(data: bytes, size: int) -> bytes:
    """The bundle with a file of incompressible bytes more, about `size` bytes in all."""
    manifest, files = archive.read(data)
    files["padding.bin"] = random.Random(size).randbytes(max(size - len(data), 0))
    changed = manifest.model_copy(update={"files": archive.file_entries(files)})
    return archive.pack(changed, files)
