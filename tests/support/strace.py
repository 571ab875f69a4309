"""strace around a process: what it calls, and death or errors at one of its calls."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.wait import eventually

# What the agent starts (the self-test, the guard) is let go of as it begins: it is not the agent.
_FOLLOW = ("strace", "-f", "-b", "execve", "-qq")


def killing(call: str, when: int) -> tuple[str, ...]:
    """SIGKILL as a thread enters its `when`-th `call`."""
    return ("-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}")


def failing(calls: Sequence[str], error: str, paths: Sequence[Path] = (), when: str = "1+") -> tuple[str, ...]:  # fmt: skip
    """`error` (EIO, ENOSPC) in place of `calls`; with `paths` only on these."""
    kinds = ",".join(calls)
    only = [word for path in paths for word in ("-P", str(path))]
    return (*only, "-e", f"trace={kinds}", "-e", f"inject={kinds}:error={error}:when={when}")


def under(expression: Sequence[str], log: str = "/dev/null") -> tuple[str, ...]:
    """What goes before a command line: strace looks on from aside, and the process is the command's."""
    return (*_FOLLOW, "-D", "-o", log, *expression)


@contextmanager
def attached(process: int, expression: Sequence[str], log: str = "/dev/null") -> Iterator[None]:
    """Around a process that runs already, all its threads; let go of at the end, if it still lives."""
    tracer = subprocess.Popen([*_FOLLOW, "-ttt", "-o", log, *expression, "-p", str(process)])
    try:
        eventually(lambda: tracer.poll() is not None or _traced(process), 20, "strace holds on")
        yield
    finally:
        _let_go(tracer)


def _let_go(tracer: "subprocess.Popen[bytes]") -> None:
    # SIGTERM makes strace let go of every thread; where one dies meanwhile, it may wait for ever.
    tracer.send_signal(signal.SIGTERM)
    try:
        tracer.wait(5)
    except subprocess.TimeoutExpired:
        tracer.kill()
        tracer.wait()


def _traced(process: int) -> bool:
    try:
        tasks = [(task / "status").read_text() for task in Path(f"/proc/{process}/task").iterdir()]
    except OSError:
        return False
    return bool(tasks) and all("TracerPid:\t0\n" not in text for text in tasks)
