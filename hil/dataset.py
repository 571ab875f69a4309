"""Writes data sets of rendered parts, as a real line would have collected them."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from fleet_contract.errors import ConfigError
from hil.camera.camera import encode_png
from hil.camera.optics import CameraSettings, expose, shifted
from hil.render import PartSpec, render_part
from hil.render.spec import check_rate, check_size

COLUMNS = ("image", "mask", "label", "group", "light")
PHOTO_STREAM = 3  # of a part's seed: how this photograph was taken
NORMAL_LIGHT = (0.92, 1.05)
DIM_LIGHT = (0.45, 0.75)


@dataclass(frozen=True)
class DatasetSpec:
    """How many parts, which ones, and under which light; raises ConfigError.

    `light` multiplies the light of every photograph; `dim_share` of them are taken under
    DIM_LIGHT instead of NORMAL_LIGHT.
    """

    parts: int
    seed: int = 0
    defect_rate: float = 0.4
    light: float = 1.0
    dim_share: float = 0.0
    size: int = 256

    def __post_init__(self) -> None:
        check_rate("defect rate", self.defect_rate)
        check_rate("share of dim images", self.dim_share)
        check_size(self.size)
        CameraSettings(light_level=self.light * NORMAL_LIGHT[1])
        if self.parts < 1:
            raise ConfigError(
                "a data set without parts", expected="1 part or more", found=f"{self.parts}"
            )


def write_dataset(out: Path, spec: DatasetSpec, *, progress: bool = False) -> int:
    """Write images/, masks/ (of defective parts only) and manifest.csv; returns the image count.

    Images are PNG, RGB; masks PNG, grey, 0 or 255, as the image shows the defect. Raises
    ConfigError where `out` holds a data set already.
    """
    manifest = out / "manifest.csv"
    if manifest.exists():
        raise ConfigError(
            f"{out} holds a data set already",
            expected="a new folder",
            remedy="Name another folder, or remove this one.",
        )
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    written = _write_parts(out, spec)
    shown = track(written, "rendering", spec.parts, console=console, disable=not progress)
    rows = list(shown)
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def _write_parts(out: Path, spec: DatasetSpec) -> Iterator[dict[str, str]]:
    for number in range(1, spec.parts + 1):
        rng = np.random.default_rng([spec.seed, number, PHOTO_STREAM])
        part = render_part(PartSpec(spec.seed, number, spec.defect_rate), spec.size)
        settings = _photograph(spec, rng)
        name, mask = f"part_{number:05d}.png", ""
        image = expose(part.image, settings, rng, spec.seed)
        (out / "images" / name).write_bytes(encode_png(image))
        if part.truth.defective:
            mask = f"masks/{name}"
            (out / mask).write_bytes(encode_png(shifted(part.mask, settings)))
        yield {
            "image": f"images/{name}",
            "mask": mask,
            "label": part.truth.label,
            "group": f"part-{spec.seed}-{number:05d}",
            "light": f"{settings.light_level:.3f}",
        }


def _photograph(spec: DatasetSpec, rng: np.random.Generator) -> CameraSettings:
    """The small differences between two photographs on a line that is in order."""
    light = DIM_LIGHT if rng.random() < spec.dim_share else NORMAL_LIGHT
    scale = spec.size / 256
    return CameraSettings(
        light_level=spec.light * float(rng.uniform(*light)),
        light_colour_k=float(rng.uniform(4800, 5200)),
        shift_x_px=float(rng.normal(0, 1.0)) * scale,
        shift_y_px=float(rng.normal(0, 1.0)) * scale,
        noise=float(rng.uniform(0.8, 1.2)),
    )


def dataset(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    parts: Annotated[int, typer.Option(help="How many parts.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Decides every part.")] = 0,
    defect_rate: Annotated[float, typer.Option(help="Share of defective parts.")] = 0.4,
    light: Annotated[float, typer.Option(help="Light level, 1 is the default lamp.")] = 1.0,
    dim_share: Annotated[float, typer.Option(help="Share taken in dim light.")] = 0.0,
    size: Annotated[int, typer.Option(help="Side of the image in pixels.")] = 256,
    progress: Annotated[bool, typer.Option("--progress", help="Show progress.")] = False,
) -> None:
    """Write a data set of rendered parts with masks and a manifest."""
    spec = DatasetSpec(parts, seed, defect_rate, light, dim_share, size)
    count = write_dataset(out, spec, progress=progress)
    typer.echo(f"{count} images in {out}")
