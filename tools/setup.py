"""Sets this checkout up: system packages, then `.venv` with the pinned Python packages.

    python3 tools/setup.py demo    what the demonstration needs
    python3 tools/setup.py dev     that, and what tests and checks need; beside it `.venv-tflite`, the
                                   agent as old images have it, in which a part of the tests is run

Standard library only, and readable by old Pythons, so that they get a message and no syntax error.
Run again it ends at once: a stamp in `.venv` tells for which pins and which checkout it was made.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLD_VENV = ROOT / ".venv-tflite"
OLD_PYTHON = (3, 11)  # the last that tflite-runtime has packages for
OLD_PINS = "constraints-tflite.txt"
OLD_TESTS = ["pytest", "pytest-timeout", "hypothesis"]  # what runs the tests there
PINS = ["pyproject.toml", "constraints.txt", OLD_PINS, "hatch_build.py"]
LOCK = "fleet_server/console/package-lock.json"
OLDEST = (3, 11)
FREE_GB = 5
EXTRAS = {"demo": "agent,server,trainer,hil", "dev": "dev"}
TORCH = "torch==2.13.0"  # exactly: a range may take a build that brings gigabytes of GPU libraries
GSTREAMER = "/usr/lib/*/gstreamer-1.0/"
SYSTEM = {
    "mosquitto": ("mosquitto", "the MQTT broker between devices and server", "demo"),
    "chromium": ("chromium", "the browser that tests of the console drive", "dev"),
    "libatomic1": ("libatomic.so.1", "what drives that browser is linked against it", "dev"),
    "systemd": ("systemd-analyze", "reads the units that are rendered for devices", "dev"),
    "strace": ("strace", "kills the agent at every system call in tests of sudden death", "dev"),
    "libfaketime": (
        "/usr/lib/*/faketime/libfaketimeMT.so.1",
        "gives the agent a wrong clock in tests of it",
        "dev",
    ),
    "aravis-tools": (
        "arv-fake-gv-camera-0.8",
        "a GigE Vision camera that exists only as a process",
        "dev",
    ),
    "python3-gi": (
        "/usr/lib/python3/dist-packages/gi/__init__.py",
        "runs the tests' RTSP server",
        "dev",
    ),
    "gir1.2-gst-rtsp-server-1.0": ("libgstrtspserver-1.0.so.0", "the tests' RTSP server", "dev"),
    "gstreamer1.0-plugins-base": (GSTREAMER + "libgstvideotestsrc.so", "its test picture", "dev"),
    "gstreamer1.0-plugins-good": (GSTREAMER + "libgstjpeg.so", "its encoder", "dev"),
}
"""Debian package: the program or library in it, what for, and for which set-up it is needed."""
SBIN = os.pathsep.join(["/usr/local/sbin", "/usr/sbin", "/sbin"])
NETWORK = ("name resolution", "Failed to establish", "NewConnectionError", "ReadTimeout", "ENOTFOUND",
           "Network is unreachable", "ConnectTimeout", "Connection refused", "EAI_AGAIN")  # fmt: skip


class SetupError(Exception):
    """What stands in the way, and what to do."""


def main() -> int:
    """Returns the exit status: 0 when all is there, 2 when something stands in the way."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "demo"
    if kind not in EXTRAS:
        say(f"setup: expected demo or dev, found {kind!r}")
        return 2
    try:
        set_up(kind)
    except SetupError as error:
        say(f"\nsetup: {error}")
        return 2
    return 0


def set_up(kind: str) -> None:
    """Makes everything that `kind` needs. Raises SetupError."""
    check_python()
    install_system_packages(kind)
    if is_done(kind):
        return
    started = time.monotonic()
    check_disk()
    make_venv(VENV, sys.executable, sys.version_info[:2])
    say(
        "Python packages into .venv, at the versions of constraints.txt (some minutes the first time):"
    )
    say("  torch, which trains the models")
    pip(VENV, "install", "-c", "constraints.txt", TORCH)
    say(f"  Loupe itself with [{EXTRAS[kind]}], and the console's scripts")
    pip(VENV, "install", "-c", "constraints.txt", "-e", f".[{EXTRAS[kind]}]")
    if kind == "dev":
        set_up_old()
    stamp(kind).write_text(fingerprint())
    say(f"Set up in {time.monotonic() - started:.0f} s.")


def set_up_old() -> None:
    """Makes `.venv-tflite`, where a Python is there that it can be made of. Raises SetupError."""
    if not old_python():
        say(
            "  not made: .venv-tflite, since tflite-runtime has no packages for this Python and there "
            "is no python3.11; its test will say so"
        )
        return
    say(f"  the agent for old images into .venv-tflite, at the versions of {OLD_PINS}")
    make_venv(OLD_VENV, old_python(), OLD_PYTHON)
    pip(OLD_VENV, "install", "-c", OLD_PINS, "-e", ".[agent-tflite]", *OLD_TESTS)


def old_python() -> str:
    """A Python that tflite-runtime has packages for; '' where there is none."""
    if sys.version_info[:2] == OLD_PYTHON:
        return sys.executable
    return shutil.which("python{}.{}".format(*OLD_PYTHON)) or ""


def check_python() -> None:
    if sys.version_info < OLDEST:
        raise SetupError(
            "expected Python {}.{} or newer, found {}.{}. Install a newer one and name it: "
            "make setup PYTHON=/path/to/python3".format(*(OLDEST + tuple(sys.version_info[:2])))
        )


def check_disk() -> None:
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < FREE_GB and not VENV.exists():
        raise SetupError(
            f"expected {FREE_GB} GB free on the disk of {ROOT}, found {free:.1f} GB. Make room, then run it again."
        )


def fingerprint() -> str:
    """What `.venv` stands for: pins, lock file, Python and the place of the checkout."""
    digest = hashlib.sha256(repr((sys.version, str(ROOT))).encode())
    for name in [*PINS, LOCK]:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def stamp(kind: str) -> Path:
    return VENV / f".set-up-for-{kind}"


def is_done(kind: str) -> bool:
    """Whether `.venv` serves `kind` already; one made for dev serves the demonstration too."""
    now = fingerprint()
    stamps = [stamp(one) for one in dict.fromkeys([kind, "dev"])]
    vendor = ROOT / "fleet_server/console/static/vendor/lock.sha256"
    if kind == "dev" and old_python() and not OLD_VENV.exists():
        return False
    return vendor.exists() and any(path.exists() and path.read_text() == now for path in stamps)


# System packages


def install_system_packages(kind: str) -> None:
    """Installs what is missing, by apt-get where there is one. Raises SetupError elsewhere."""
    wanted = [name for name, (_, _, need) in SYSTEM.items() if need == "demo" or need == kind]
    missing = [name for name in wanted if not is_there(SYSTEM[name][0])]
    reasons = [f"  {name}: {SYSTEM[name][1]}" for name in missing]
    if not has_venv():
        missing.append("python3-venv")
        reasons.append(
            "  python3-venv: makes .venv, so that your other Python packages stay as they are"
        )
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise SetupError(
            "these are missing, install them from your system's packages and run it again:\n"
            + "\n".join(reasons)
        )
    say("System packages, by apt-get:")
    say("\n".join(reasons))
    apt_install(missing)
    check_installed(missing)


def is_there(name: str) -> bool:
    """Whether a program, a library by its file name (`libx.so.1`) or a file by its path is here."""
    if name.startswith("/"):
        return any(Path("/").glob(name[1:]))
    if ".so." in name:
        try:
            ctypes.CDLL(name)
        except OSError:
            return False
        return True
    return shutil.which(name, path=os.environ.get("PATH", "") + os.pathsep + SBIN) is not None


def has_venv() -> bool:
    # Debian ships venv without ensurepip, and it is ensurepip that fails then.
    command = [sys.executable, "-c", "import venv, ensurepip"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def apt_install(packages: list[str]) -> None:
    # RUNLEVEL=1 keeps the package's own services from being started: our broker has its own
    # configuration, and port 1883 is not ours to take.
    install = [*as_root(), "env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install",
               "-y", "-q", "--no-install-recommends", *packages]  # fmt: skip
    if run_quietly(install):
        say("  (the list of packages is old: apt-get update)")
        run_quietly([*as_root(), "apt-get", "update", "-q"])
        output = run_quietly(install)
        if output:
            raise SetupError(f"apt-get could not install them:\n{output}\n{hint(output)}")
    if "mosquitto" in packages:
        keep_service_off()


def keep_service_off() -> None:
    """The distribution's own broker neither runs nor starts with the machine."""
    if Path("/run/systemd/system").exists():
        run_quietly([*as_root(), "systemctl", "disable", "--now", "mosquitto.service"])
    elif shutil.which("update-rc.d", path=SBIN):
        run_quietly([*as_root(), "update-rc.d", "mosquitto", "disable"])


def check_installed(packages: list[str]) -> None:
    still = [name for name in packages if name in SYSTEM and not is_there(SYSTEM[name][0])]
    if "python3-venv" in packages and not has_venv():
        still.append(f"python3-venv for {sys.executable}")
    if still:
        raise SetupError("apt-get installed, but still missing: {}".format(", ".join(still)))


def as_root() -> list[str]:
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        raise SetupError(
            "system packages need root, and there is no sudo. Install them as root first."
        )
    return ["sudo"]


def run_quietly(command: list[str]) -> str:
    """The last lines of a failed command's output; nothing where it succeeded."""
    done = subprocess.run(
        command,
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return "\n".join(done.stdout.splitlines()[-15:]) or "failed" if done.returncode else ""


# Python packages


def make_venv(folder: Path, python: str, version: tuple[int, ...]) -> None:
    """Makes an environment of `python`; one that does not run, or is of another, is made anew."""
    made = str(folder / "bin" / "python")
    probe = f"import pip, sys; sys.exit(sys.version_info[:2] != {version!r})"
    if Path(made).exists() and not run_quietly([made, "-c", probe]):
        return
    say(f"A virtual environment in {folder.name}")
    output = run_quietly([python, "-m", "venv", "--clear", str(folder)])
    if output:
        raise SetupError(f"the virtual environment could not be made:\n{output}\n{hint(output)}")


def pip(venv: Path, *arguments: str) -> None:
    """Runs pip of `venv` from the checkout. Raises SetupError with pip's last words."""
    python = str(venv / "bin" / "python")
    output = run_quietly(
        [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    )
    if output:
        raise SetupError(f"pip could not install:\n{output}\n{hint(output)}")


def hint(output: str) -> str:
    """What to do about a failure that is known by its words."""
    if "No space left" in output:
        return "The disk is full: make room (also where TMPDIR points), then run it again."
    if any(word in output for word in NETWORK):
        return (
            "The network could not be reached: connect, then run it again; what is there is kept."
        )
    return "Mend that, then run it again; what is there is kept."


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
