"""What the extras of the distribution bring, resolved from pyproject.toml and the pins."""

import re
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.imports import ROOT

FORBIDDEN = {
    "agent": {"torch", "fastapi", "starlette", "uvicorn", "sqlmodel", "sqlalchemy", "jax", "scipy"},
    "server": {"torch", "jax", "onnxruntime", "tensorflow"},
    "hil": {"torch", "jax", "fastapi"},
}


def project() -> dict[str, list[str]]:
    """Requirements by extra; the base ones under the empty name."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: dict[str, list[str]] = data["optional-dependencies"]
    return {"": data["dependencies"], **extras}


def pins(extra: str = "") -> dict[str, str]:
    """Version by package; the agent for old images has pins of its own."""
    file = "constraints-tflite.txt" if extra == "agent-tflite" else "constraints.txt"
    lines = (ROOT / file).read_text().split()
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


def brought(extra: str) -> set[str]:
    """Every distribution that installing `loupe[extra]` brings, as the installed ones declare."""
    found: set[str] = set()
    queue = [Requirement(text) for text in project()[""] + project()[extra]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        one = queue.pop()
        key = (canonicalize_name(one.name), frozenset(one.extras))
        if key in seen:
            continue
        seen.add(key)
        if key[0] == "loupe":
            queue += [Requirement(text) for name in one.extras for text in project()[name]]
            continue
        found.add(key[0])
        queue += needs(one)
    return found


def needs(one: Requirement) -> list[Requirement]:
    """What an installed distribution requires here for the extras that are asked for."""
    declared = [Requirement(text) for text in metadata.requires(one.name) or []]
    extras = one.extras or {""}
    return [
        requirement
        for requirement in declared
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in {"", *extras})
    ]


@pytest.mark.parametrize("extra", sorted(FORBIDDEN))
def test_an_extra_does_not_bring_what_belongs_elsewhere(extra: str) -> None:
    assert brought(extra) & FORBIDDEN[extra] == set()


def test_the_trainer_does_bring_torch() -> None:
    assert {"torch", "jax", "onnxruntime"} <= brought("trainer")


@pytest.mark.parametrize("extra", ["agent", "server", "trainer", "hil"])
def test_every_package_that_is_brought_is_pinned(extra: str) -> None:
    assert brought(extra) - set(pins()) == set()


@pytest.mark.parametrize("extra", sorted(project()))
def test_every_pin_fits_what_is_required(extra: str) -> None:
    wrong = [
        str(requirement)
        for requirement in map(Requirement, project()[extra])
        if requirement.name != "loupe"
        and not requirement.specifier.contains(pins(extra)[canonicalize_name(requirement.name)])
    ]
    assert wrong == []


def test_the_pins_for_old_images_differ_in_nothing_else() -> None:
    old, new = pins("agent-tflite"), pins()
    differ = {name for name, version in old.items() if new.get(name) != version}
    assert differ == {"numpy", "opencv-python-headless", "tflite-runtime"}


def test_every_dependency_says_what_it_is_for() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    section = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    bare = re.findall(r'^    "(?!loupe)[^"]+",$', section, re.MULTILINE)
    assert bare == []
