"""Facts about `loupe-hil` as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import httpx
import pytest

ROOT = Path(__file__).parents[2]


class Listening(TypedDict):
    event: str
    port: int
    bench_port: int


COMMAND = [sys.executable, "-c", "from hil.cli import main; main()"]


@contextmanager
def loupe_hil(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def camera(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Listening]]:
    with loupe_hil("camera", "--port", "0", "--bench-port", "0", *arguments) as process:
        assert process.stdout is not None
        said: Listening = json.loads(process.stdout.readline())
        yield process, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_camera_cleanly_while_clients_wait(number: signal.Signals) -> None:
    with camera("--size", "64", "--parts", "2") as (process, said):
        with socket.create_connection(("127.0.0.1", said["port"])) as waiting:
            waiting.sendall(b"GET /frame?after=99 HTTP/1.1\r\nHost: camera\r\n\r\n")
            process.send_signal(number)
            _, errors = process.communicate(timeout=15)
        assert process.returncode == 0
        assert errors == ""
        for port in said["port"], said["bench_port"]:
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_camera_says_in_one_line_where_it_listens() -> None:
    with camera("--size", "64", "--camera", "left") as (_, said):
        assert set(said) == {"event", "port", "bench_port"}
        assert said["event"] == "listening"
        info = httpx.get(f"http://127.0.0.1:{said['port']}/info", trust_env=False).json()
        assert info["camera"] == "left"


@pytest.mark.parametrize("option", ["--port", "--bench-port"])
def test_a_port_in_use_is_one_message_and_exit_code_2(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = {"--port": "0", "--bench-port": "0", option: port}
        with loupe_hil("camera", *(text for pair in arguments.items() for text in pair)) as process:
            output, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert output == ""
    assert f"port {port} on 127.0.0.1 is in use" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("camera", "--rate", "0"),
        ("camera", "--defect-rate", "2"),
        ("camera", "--parts", "many"),
        ("camera", "--buffer", "0"),
        ("camera", "--size", "3"),
        ("dataset", "unused", "--parts", "0"),
        ("dataset", "unused", "--light", "5"),
    ],
)
def test_a_wrong_option_is_one_message_and_exit_code_2(arguments: tuple[str, ...]) -> None:
    with loupe_hil(*arguments) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "expected" in errors
    assert "Traceback" not in errors
