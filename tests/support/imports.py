"""What Python files import, read from their syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imports_of(source: str) -> set[str]:
    """Full names of the modules that `source` imports, at the top or inside functions.

    `from a import b` counts as both `a` and `a.b`, because b may be a module.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # A relative import stays inside its own package.
            module = node.module if node.level == 0 else None
            if module:
                found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call):
            found |= set(_by_name(node))
    return found


def _by_name(call: ast.Call) -> Iterator[str]:
    """`import_module("x")` and `__import__("x")`."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("import_module", "__import__") and call.args:
        first = call.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value


def top(modules: set[str]) -> set[str]:
    """The top-level packages of modules."""
    return {module.partition(".")[0] for module in modules}


def sources(package: str) -> list[Path]:
    """Every Python file of a package of ours."""
    return sorted((ROOT / package).rglob("*.py"))
