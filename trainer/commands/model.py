"""Commands that make and use bundles."""

import json
import signal
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
from rich.console import Console

from fleet_contract import archive
from fleet_contract.clock import SystemClock
from fleet_contract.errors import DataError
from fleet_contract.inference.model import BundleModel, Judgement
from fleet_contract.inference.preprocess import Frame, decode_image
from fleet_contract.inference.runtime import sigmoid
from fleet_contract.manifest import Manifest
from fleet_contract.names import Precision, Runtime
from trainer.commands.data import JsonOption, StoreOption
from trainer.commands.show import evaluation_table, watched
from trainer.config import load_config
from trainer.data.store import Store

RuntimeOption = Annotated[Runtime | None, typer.Option(help="Only this runtime.")]
PrecisionOption = Annotated[Precision | None, typer.Option(help="Only this precision.")]


def train(
    config: Annotated[Path, typer.Argument(help="The line's TOML file.")],
    store: StoreOption,
    dataset: Annotated[str, typer.Option(help="Digest of the data set, or its beginning.")],
    out: Annotated[Path, typer.Option(help="The bundle's file, .tar.")],
    champion: Annotated[Path | None, typer.Option(help="A bundle to compare with.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train, quantize, measure and pack a bundle."""
    from trainer.build import Builder  # torch takes seconds to load

    loaded, opened = load_config(config), Store(store)
    version = opened.version(dataset)
    data = read_file(champion) if champion else None
    with stopping() as stop, watched(stop) as watch:
        built = Builder(loaded, opened, version, SystemClock(), watch, champion=data).build()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(built.archive)
    if as_json:
        typer.echo(json.dumps({
            "digest": built.digest, "dataset": version.digest(), "size_bytes": len(built.archive),
            "evaluation": built.evaluation, "comparison": built.comparison,
        }))  # fmt: skip
        return
    console = Console(stderr=True)
    console.print(evaluation_table(built.evaluation, f"bundle {built.digest[:12]}"))
    if built.comparison:
        console.print(f"{built.comparison['outcome']}: {built.comparison['why']}")
    typer.echo(built.digest)


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's file.")],
    store: StoreOption,
    dataset: Annotated[str, typer.Option(help="Digest of the data set, or its beginning.")],
    runtime: RuntimeOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a bundle on the holdout of a data set."""
    from trainer.evaluation import evaluate as measure
    from trainer.judge import load_samples

    opened = Store(store)
    version = opened.version(dataset)
    with unpacked(bundle) as (folder, manifest):
        samples = load_samples(opened, version.side("holdout"), manifest)
        report = measure(folder, manifest, samples, runtime, precision)
    if as_json:
        typer.echo(json.dumps(report))
        return
    Console().print(evaluation_table(report, f"{bundle.name} on {version.digest()[:12]}"))


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
