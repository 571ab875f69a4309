"""The arrows between the rooms point one way; read from the imports of every file."""

from pathlib import Path

import pytest

from tests.support.imports import ROOT, imports_of, sources, top

OURS = {"fleet_contract", "edge_agent", "fleet_server", "trainer", "firmware_configs", "hil"}
MAY_IMPORT = {
    "fleet_contract": set[str](),
    "edge_agent": {"fleet_contract"},
    "fleet_server": {"fleet_contract"},
    "trainer": {"fleet_contract"},
    "firmware_configs": {"fleet_contract"},
    "hil": {"fleet_contract", "firmware_configs"},
}
ONLY_IN: dict[str, set[str]] = {
    "torch": {"trainer"},
    "onnx": {"trainer"},
    "onnxscript": {"trainer"},
    "litert_torch": {"trainer"},
    "ai_edge_quantizer": {"trainer"},
    "fastapi": {"fleet_server"},
    "starlette": {"fleet_server"},
    "uvicorn": {"fleet_server"},
    "sqlmodel": {"fleet_server"},
    "sqlalchemy": {"fleet_server", "trainer"},
    "alembic": {"fleet_server"},
    "jinja2": {"fleet_server", "trainer"},
}
"""Libraries that belong to some rooms, above all not to the agent's."""
LAZY = {"cv2", "onnxruntime", "ai_edge_litert", "tflite_runtime"}
"""Libraries of the optional inference extra: in the contract only below `inference`."""
INFERENCE = ROOT / "fleet_contract" / "inference"


def every_file() -> list[tuple[str, Path]]:
    return [(package, path) for package in sorted(OURS) for path in sources(package)]


def wrong_imports(package: str, path: Path, modules: set[str]) -> set[str]:
    """What `path` of `package` imports against the rules."""
    found = top(modules)
    wrong = (found & OURS) - MAY_IMPORT[package] - {package}
    wrong |= {library for library in found if package not in ONLY_IN.get(library, {package})}
    if package == "fleet_contract" and INFERENCE not in path.parents:
        wrong |= found & LAZY
        wrong |= {name for name in modules if name.startswith("fleet_contract.inference")}
    return wrong


def test_every_arrow_points_the_right_way() -> None:
    problems = {
        str(path.relative_to(ROOT)): sorted(wrong)
        for package, path in every_file()
        if (wrong := wrong_imports(package, path, imports_of(path.read_text())))
    }
    assert problems == {}


@pytest.mark.parametrize("package", sorted(OURS))
def test_every_room_is_read(package: str) -> None:
    assert sources(package), f"{package} has no Python file, so the rules were not applied to it"


@pytest.mark.parametrize(
    ("package", "source", "wrong"),
    [
        ("edge_agent", "import torch", {"torch"}),
        ("edge_agent", "def f():\n    from fleet_server.pki import issue", {"fleet_server"}),
        ("hil", "import importlib\nimportlib.import_module('edge_agent.cli')", {"edge_agent"}),
        ("trainer", "from fastapi import FastAPI", {"fastapi"}),
        ("fleet_contract", "import cv2", {"cv2"}),
        ("fleet_contract", "from hil import camera", {"hil"}),
        ("fleet_server", "from fleet_contract import topics\nimport sqlmodel", set()),
        ("trainer", "from . import loss\nimport torch.nn", set()),
    ],
)
def test_a_turned_arrow_is_seen(package: str, source: str, wrong: set[str]) -> None:
    assert wrong_imports(package, ROOT / package / "made_up.py", imports_of(source)) == wrong
