"""The guard: a process that holds the line's outputs, `python -m edge_agent.output.guard`.

The agent tells it, by lines of JSON on a pipe, that a part is being judged and until when its verdict
is wanted, each verdict, and several times a second that it lives. The guard shows each verdict for
its time and takes it away. It shows "no decision" by itself

- for a part whose verdict has not come when its time is over (a slow or hung agent),
- for every part that was under way when the pipe closes (a dead agent), which also ends `ready`,
- and it ends `ready` when the agent has not been heard for `silence` (a stopped one).

Each output has a thread of its own, so that a slow PLC delays neither another output nor the rules.
What outputs have to say goes back to the agent by lines on standard output, which never block. The
guard ends when the pipe is closed and the outputs show that nothing stands, or after a few seconds. It
lives apart from the agent's libraries: the standard library and those of the configured outputs.
"""

import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from edge_agent.output.runner import MessageRunner, Runner, Say, SignalRunner
from edge_agent.output.signals import NO_DECISION, Rules, Told

LINGER_S = 5.0
"""How long a guard without an agent tries to reach its outputs."""
REPORT_S = 0.5
_READ = 65536


def _modbus(settings: dict[str, Any], say: Say) -> Runner:
    from edge_agent.output.modbus import ModbusPeer

    hold = settings.pop("hold")
    return SignalRunner(ModbusPeer(**settings), hold, say)


def _gpio(settings: dict[str, Any], say: Say) -> Runner:
    from edge_agent.output.gpio import GpioPeer

    hold = settings.pop("hold")
    return SignalRunner(GpioPeer(**settings), hold, say)


def _mqtt(settings: dict[str, Any], say: Say) -> Runner:
    from edge_agent.output.mqtt import MqttPeer

    return MessageRunner(MqttPeer(**settings), say)


def _http(settings: dict[str, Any], say: Say) -> Runner:
    from edge_agent.output.http import HttpPeer

    return MessageRunner(HttpPeer(**settings), say)


MAKERS: dict[str, Callable[[dict[str, Any], Say], Runner]] = {
    "modbus": _modbus, "gpio": _gpio, "mqtt": _mqtt, "http": _http,
}  # fmt: skip
"""By the `kind` of an output's settings; each imports its library when it is first asked for."""


class Guard:
    """Its rules, fed by lines; its outputs, told of what follows."""

    def __init__(self, rules: Rules, outputs: list[Runner], say: Say) -> None:
        self._rules, self._outputs, self._say = rules, outputs, say
        self._ready: bool | None = None
        self._overruled = 0

    def line(self, message: list[Any], now_s: float) -> None:
        """One message of the agent; see `edge_agent.output.guarded` for their making."""
        kind, *values = message
        if kind == "beat":
            self._rules.beat(values[0], now_s)
        elif kind == "expect":
            self._rules.expect(values[0], values[1])
        elif kind == "verdict":
            self._verdict(values[0], values[1], values[2], now_s)
        self.tick(now_s)

    def _verdict(self, part: int, verdict: str, reason: str, now_s: float) -> None:
        told = self._rules.verdict(part, verdict, reason, now_s)
        if verdict != NO_DECISION:
            # Who judges is there, also where the last beat said otherwise.
            self._rules.beat(True, now_s)
        self._show_ready(now_s)
        if told is not None:
            self._tell([told])
        if self._rules.overruled != self._overruled:
            self._overruled = self._rules.overruled
            self._say(
                f"the line got no decision for part {part}: its verdict ({verdict}) came too late",
                "warning",
            )

    def tick(self, now_s: float) -> None:
        """What time alone decides."""
        self._tell(self._rules.overdue(now_s))
        self._show_ready(now_s)

    def next_s(self, now_s: float) -> float:
        """When to call `tick`, at the latest."""
        return self._rules.next_s(now_s)

    def agent_gone(self, now_s: float) -> None:
        """The pipe is closed."""
        told = self._rules.gone()
        self._show_ready(now_s)
        self._tell(told)

    def close(self, timeout_s: float) -> None:
        """Ends the outputs once they have shown everything."""
        until = time.monotonic() + timeout_s
        for output in self._outputs:
            output.close(max(until - time.monotonic(), 0.0))

    def counts(self) -> dict[str, Any]:
        """What the agent counts and shows of the outputs."""
        return {
            output.peer.name: {
                "lost": output.lost, "failures": output.failures, "dropped": output.dropped,
            }
            for output in self._outputs
        }  # fmt: skip

    def _show_ready(self, now_s: float) -> None:
        ready = self._rules.ready(now_s)
        if ready != self._ready:
            self._ready = ready
            for output in self._outputs:
                output.set_ready(ready)

    def _tell(self, parts: list[Told]) -> None:
        for told in parts:
            for output in self._outputs:
                output.tell(told)


class Pipe:
    """The agent's lines, from a file descriptor."""

    def __init__(self, file: int) -> None:
        self._file, self._rest = file, b""

    def lines(self, timeout_s: float) -> list[list[Any]] | None:
        """Messages that came within `timeout_s`; None once the agent has let go of the pipe."""
        if not select.select([self._file], [], [], max(timeout_s, 0.0))[0]:
            return []
        data = os.read(self._file, _READ)
        if not data:
            return None
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in whole]


def report(kind: str, *values: Any) -> None:
    """A line for the agent; lost where it does not read, or is not there any more."""
    try:
        os.write(sys.stdout.fileno(), json.dumps([kind, *values]).encode() + b"\n")
    except (BlockingIOError, BrokenPipeError):
        return


def main() -> None:
    """Reads one line of settings, then messages until the pipe is closed."""
    # The service manager ends all processes of a unit at once: the guard goes after the agent.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.set_blocking(sys.stdout.fileno(), False)
    pipe = Pipe(sys.stdin.fileno())
    first = pipe.lines(60.0)
    if not first:
        return
    settings: dict[str, Any] = first[0][0]
    # The guard before may still be telling its outputs that its agent is gone.
    lock = os.open(settings["lock"], os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    say: Say = lambda text, severity: report("event", text, severity)  # noqa: E731
    outputs = [MAKERS[one.pop("kind")](one, say) for one in settings["outputs"]]
    guard = Guard(Rules(settings["silence"]), outputs, say)
    for output in outputs:
        output.start()
    _serve(guard, pipe, first[1:])
    guard.agent_gone(time.monotonic())
    guard.close(LINGER_S)
    # A thread that still waits for a dead peer does not keep the process.
    os._exit(0)


def _serve(guard: Guard, pipe: Pipe, messages: list[list[Any]] | None) -> None:
    reported_s = -1e9
    while messages is not None:
        now = time.monotonic()
        for message in messages:
            guard.line(message, now)
        guard.tick(now)
        if now - reported_s >= REPORT_S:
            reported_s = now
            report("counts", guard.counts())
        wait = min(guard.next_s(now), reported_s + REPORT_S) - time.monotonic()
        messages = pipe.lines(wait)


if __name__ == "__main__":
    main()
