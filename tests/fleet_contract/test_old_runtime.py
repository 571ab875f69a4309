"""What runs on a device runs on an old image too: tflite-runtime, numpy 1, OpenCV 4."""

from pathlib import Path

from tests.house.test_extras import pins
from tests.support.old_image import run_there
from tests.support.tiny_litert import mean_model

SUITE = [
    f"tests/fleet_contract/test_{name}.py"
    for name in ("litert", "views", "accept", "archive", "histogram")
]
_IMPORTS = """
import importlib, pkgutil
import edge_agent, fleet_contract
for package in (fleet_contract, edge_agent):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
"""
_VERSIONS = """
import re
from importlib import metadata
for one in metadata.distributions():
    print(re.sub("[-_.]+", "-", one.metadata["Name"].lower()) + "==" + one.version)
"""


def test_the_runtimes_suite_passes_with_tflite_runtime(tmp_path: Path) -> None:
    model = tmp_path / "mean.tflite"
    model.write_bytes(mean_model())
    # Without conftest.py: its fixtures are of the server and the browser.
    words = ["-m", "pytest", "--noconftest", "-p", "no:cacheprovider", *SUITE]
    assert " passed" in run_there(*words, "-v", LITERT_MODEL=str(model))


def test_every_module_of_the_agent_can_be_imported() -> None:
    imported = run_there("-c", _IMPORTS).split()
    assert {"edge_agent.agent", "edge_agent.cli", "fleet_contract.inference.runtime"} <= {*imported}


def test_what_is_installed_is_what_the_pins_say() -> None:
    found = dict(line.split("==") for line in run_there("-c", _VERSIONS).split())
    wanted = pins("agent-tflite")
    rest = found.keys() - {"loupe", "pip", "setuptools"}
    assert {name: found[name] for name in rest} == {name: wanted.get(name) for name in rest}
    assert wanted.keys() <= found.keys()
