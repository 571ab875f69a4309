"""Installs Loupe with the agent's extra alone, in a fresh environment, and runs `loupe-agent`.

    .venv/bin/python tools/prove_agent_alone.py

A device must not carry the trainer nor the server: this shows what pip really brings, where the
tests of the extras only read it. Takes about a minute; needs the network.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {"torch", "jax", "scipy", "fastapi", "starlette", "uvicorn", "sqlmodel", "sqlalchemy"}


def main() -> int:
    """Returns 0 where the agent runs and nothing forbidden came along."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-c", "constraints.txt", ".[agent]"], cwd=ROOT, check=True)
        frozen = subprocess.run([*pip, "freeze"], capture_output=True, text=True, check=True)
        names = {
            line.partition("==")[0].partition(" ")[0].lower() for line in frozen.stdout.split("\n")
        }
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        # Outside the checkout, so that only what was installed can be imported.
        help_text = subprocess.run(
            [str(python.with_name("loupe-agent")), "--help"],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    found = sorted(names & FORBIDDEN)
    print_lines(
        f"{len(names - {''})} distributions, {size / 1e6:.0f} MB",
        f"of the server's and trainer's: {', '.join(found) or 'none'}",
        f"loupe-agent --help: exit status {help_text.returncode}",
        help_text.stderr,
    )
    return 1 if found or help_text.returncode else 0


def print_lines(*lines: str) -> None:
    sys.stdout.write("\n".join(line for line in lines if line) + "\n")


if __name__ == "__main__":
    sys.exit(main())
