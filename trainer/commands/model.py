"""Commands that make and use bundles."""

import json
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import cv2
import numpy as np
import typer

from fleet_contract import archive
from fleet_contract.errors import DataError
from fleet_contract.inference.model import BundleModel, Judgement
from fleet_contract.inference.preprocess import Frame, decode_image
from fleet_contract.inference.runtime import sigmoid
from fleet_contract.manifest import Manifest
from fleet_contract.names import Precision, Runtime
from trainer.commands.data import DEFAULT_STORE, JsonOption, StoreOption
from trainer.data.store import Store
from trainer.runs.record import Order

RuntimeOption = Annotated[Runtime | None, typer.Option(help="Only this runtime.")]
PrecisionOption = Annotated[Precision | None, typer.Option(help="Only this precision.")]


def train(
    config: Annotated[
        Path | None, typer.Argument(help="The line's TOML file; not needed with --resume.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    dataset: Annotated[
        str, typer.Option(help="Digest of the data set, or its beginning; else the line's newest.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="The bundle's file; else LINE-DIGEST.tar here.")
    ] = None,
    champion: Annotated[Path | None, typer.Option(help="A bundle to compare with.")] = None,
    time_budget: Annotated[
        str, typer.Option(help="In place of the file's: 90s, 10m, 2h. Ends the training itself.")
    ] = "",
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A few parts and steps, to try everything out.")
    ] = False,
    folds: Annotated[
        int, typer.Option(min=0, help="Also cross-validate, each fold trained as the bundle is.")
    ] = 0,
    metrics: Annotated[
        Path | None, typer.Option(help="File for the figures; else metrics.json beside the bundle.")
    ] = None,
    resume: Annotated[str, typer.Option(help="Go on with a run that stopped or was killed.")] = "",
    mlflow: Annotated[
        str, typer.Option(help="Also track the run here: http://HOST:PORT or sqlite:///FILE.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Train, quantize, measure and pack a bundle.

    Ends with 0 when the bundle is made, 2 for a mistake to be mended, 3 when the bundle is made but
    fails a gate, 4 when the training was stopped or does not converge.
    """
    order = Order(
        time_budget=budget_of(time_budget), smoke=smoke, folds=folds, champion=_absolute(champion),
        out=_absolute(out), metrics=_absolute(metrics), folder="" if resume else str(Path.cwd()),
    )  # fmt: skip
    from trainer.commands.training import run_training  # torch takes seconds to load

    sys.exit(run_training(Store(store), config, dataset, order, resume, mlflow, as_json=as_json))


def budget_of(text: str) -> str:
    """`10m` means minutes here, as people write it; other units are those of the file."""
    return re.sub(r"^\s*([0-9.]+)\s*m\s*$", r"\1min", text)


def _absolute(path: Path | None) -> str:
    return "" if path is None else str(path.absolute())


def predict(
    bundle: Annotated[Path, typer.Argument(help="The bundle's file.")],
    images: Annotated[list[Path], typer.Argument(help="Images.")],
    heatmap: Annotated[Path | None, typer.Option(help="Folder for heat maps.")] = None,
    runtime: Annotated[Runtime, typer.Option(help="Which runtime.")] = Runtime.ONNX,
    precision: Annotated[Precision, typer.Option(help="Which precision.")] = Precision.INT8,
    as_json: JsonOption = False,
) -> None:
    """Judge images with a bundle, as a device would."""
    with unpacked(bundle) as (folder, manifest):
        model = BundleModel(folder, manifest, runtime, precision)
        for path in images:
            frame = decode_file(path, manifest.input.channels)
            judgement = model.judge(frame)
            if heatmap is not None:
                heatmap.mkdir(parents=True, exist_ok=True)
                write_heatmap(heatmap / f"{path.stem}.png", frame, judgement)
            typer.echo(_line(path, judgement, as_json=as_json))


def _line(path: Path, judgement: Judgement, *, as_json: bool) -> str:
    if not as_json:
        return f"{judgement.verdict:<8} {judgement.score:.3f}  {path}"
    facts: dict[str, Any] = {"image": str(path), "verdict": judgement.verdict,
                             "score": judgement.score, "latency_ms": judgement.latency_ms}  # fmt: skip
    return json.dumps(facts)


def write_heatmap(path: Path, frame: Frame, judgement: Judgement) -> None:
    """The frame with the defect map laid over it in red, PNG of the frame's size."""
    size = (frame.shape[1], frame.shape[0])
    heat = cv2.resize(sigmoid(judgement.mask_logits), size)[:, :, None]
    colour = frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
    red = np.array([255.0, 0.0, 0.0])
    mixed = colour * (1 - 0.6 * heat) + red * (0.6 * heat)
    cv2.imwrite(str(path), cv2.cvtColor(mixed.astype(np.uint8), cv2.COLOR_RGB2BGR))


@contextmanager
def unpacked(bundle: Path) -> Iterator[tuple[Path, Manifest]]:
    """A bundle's files in a folder for a while. Raises BundleError, DataError."""
    with tempfile.TemporaryDirectory(prefix="loupe-bundle-") as folder:
        target = Path(folder) / "bundle"
        yield target, archive.unpack(read_file(bundle), target)


def read_file(path: Path) -> bytes:
    """Raises DataError where the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def decode_file(path: Path, channels: int) -> Frame:
    """Raises DataError that names the file."""
    try:
        return decode_image(read_file(path), channels)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C ends the process at once."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    kept = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
