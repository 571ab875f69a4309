"""How much memory a bundle's models take: `python -m trainer.footprint FOLDER HEIGHT WIDTH`.

Run as a process of its own, so that nothing that was loaded before is counted or hides growth; each
runtime and precision is then measured in a fork of it. Figures are of Linux's /proc; elsewhere the
memory is not known.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from fleet_contract.errors import ResourceError
from fleet_contract.inference.model import BundleModel
from fleet_contract.inference.preprocess import Frame
from fleet_contract.manifest import InputSchema, Manifest, parse_manifest
from trainer.judge import Key, keys_of

_STATUS = Path("/proc/self/status")
_CLEAR_PEAK = Path("/proc/self/clear_refs")
_TIMEOUT_S = 300.0


def measure(folder: Path, manifest: Manifest, size: tuple[int, int]) -> dict[str, float]:
    """By `runtime/precision`: MB (10^6 bytes) of resident memory that loading and judging a frame
    of `size` (height, width) add at their peak; {} where the system does not tell.

    `folder` is an unpacked bundle, but for its manifest. Raises ResourceError where the measuring
    process fails.
    """
    if not _STATUS.is_file():
        return {}
    command = [sys.executable, "-m", "trainer.footprint", str(folder), str(size[0]), str(size[1])]
    done = subprocess.run(command, input=manifest.model_dump_json(), capture_output=True,
                          text=True, check=False, timeout=_TIMEOUT_S)  # fmt: skip
    if done.returncode:
        raise ResourceError("the models' memory could not be measured", found=done.stderr[-500:])
    return {str(key): float(value) for key, value in json.loads(done.stdout).items()}


def blank_frame(schema: InputSchema, size: tuple[int, int]) -> Frame:
    """A frame of one grey that the schema takes."""
    low, high = schema.grey_range
    level = (low + high) / 2 * 2 ** (schema.depth - 8)
    shape = size if schema.channels == 1 else (*size, 3)
    return (
        np.full(shape, level, np.uint8) if schema.depth == 8 else np.full(shape, level, np.uint16)
    )


def _grown(folder: Path, manifest: Manifest, key: Key, frame: Frame) -> float:
    """MB that this process grows by."""
    before = _resident("VmRSS")
    _CLEAR_PEAK.write_text("5")  # the peak starts again from what is resident now
    model = BundleModel(folder, manifest, *key)
    model.warm_up(1)
    model.judge(frame)
    return (_resident("VmHWM") - before) / 1e6


def _resident(name: str) -> int:
    line = next(x for x in _STATUS.read_text().splitlines() if x.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _in_fork(folder: Path, manifest: Manifest, key: Key, frame: Frame) -> float:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, repr(_grown(folder, manifest, key, frame)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:
        raise ResourceError(f"the models of {'/'.join(key)} could not be measured")
    return float(said)


def main() -> None:
    """Reads the manifest from standard input, prints JSON."""
    folder, height, width = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    manifest = parse_manifest(sys.stdin.buffer.read())
    import ai_edge_litert.interpreter
    import onnxruntime

    del ai_edge_litert, onnxruntime  # loaded once, before the forks; not a part of any model
    frame = blank_frame(manifest.input, (height, width))
    found = {"/".join(key): _in_fork(folder, manifest, key, frame) for key in keys_of(manifest)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
