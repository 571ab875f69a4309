"""From a board's file to what lies on the device: `board.toml` and `loupe-agent.service`.

Pure: `render` returns texts. The unit follows systemd.exec(5), systemd.resource-control(5).
"""

import json
from pathlib import Path
from string import Template

from firmware_configs.schema import BoardFile

TEMPLATES = Path(__file__).parent / "templates"
BOARD, UNIT = "board.toml", "loupe-agent.service"


def render(board: BoardFile) -> dict[str, str]:
    """File name: text, for everything that the board's profile gives."""
    return {BOARD: render_board(board), UNIT: render_unit(board)}


def render_board(board: BoardFile) -> str:
    """`board.toml`, as `fleet_contract.board.read_board` reads it."""
    values: dict[str, str | int] = {
        "hardware": board.name,
        "runtime": board.inference.runtime.value,
        "precision": board.inference.precision.value,
        "threads": board.inference.threads,
        "memory_limit": f"{board.service.memory_max}B",
    }
    # A JSON string is a TOML basic string.
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join([f"# {board.title}; rendered by firmware_configs.", *lines]) + "\n"


def render_unit(board: BoardFile) -> str:
    """The hardened systemd unit of the agent."""
    template = Template((TEMPLATES / UNIT).read_text())
    return template.substitute(
        title=board.title,
        watchdog_s=f"{board.service.watchdog:g}",
        memory_max=board.service.memory_max,
        threads=board.inference.threads,
    )
