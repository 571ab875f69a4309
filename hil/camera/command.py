"""`loupe-hil camera`."""

from typing import Annotated

import typer

from fleet_contract.errors import ConfigError
from hil.camera.camera import CameraSpec
from hil.camera.server import run


def camera(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Public port; 0: any free.")] = 8500,
    bench_port: Annotated[int, typer.Option(min=0, max=65535, help="Bench port.")] = 8501,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    camera_id: Annotated[str, typer.Option("--camera", help="The camera's name.")] = "cam-1",
    seed: Annotated[int, typer.Option(min=0, help="Decides every part.")] = 0,
    rate: Annotated[float, typer.Option(help="Parts per second.")] = 5.0,
    defect_rate: Annotated[float, typer.Option(help="Share of defective parts, 0 to 1.")] = 0.25,
    buffer: Annotated[int, typer.Option(help="Frames kept.")] = 128,
    size: Annotated[int, typer.Option(help="Side of the image in pixels.")] = 256,
    parts: Annotated[str, typer.Option(help="How many parts come, or unlimited.")] = "unlimited",
    paused: Annotated[bool, typer.Option("--paused", help="Stand still until resumed.")] = False,
) -> None:
    """Run a simulated line camera until it is told to end."""
    spec = CameraSpec(camera_id, seed, rate, defect_rate, buffer, size, _count(parts), paused)
    run(spec, host, port, bench_port)


def _count(text: str) -> int | None:
    if text == "unlimited":
        return None
    if not text.isdigit():
        raise ConfigError(
            "--parts is not understood", expected="a whole number or unlimited", found=repr(text)
        )
    return int(text)
