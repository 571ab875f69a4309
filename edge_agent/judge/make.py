"""The judge that the configuration names. Libraries are loaded for the one that is used."""

from collections.abc import Callable, Sequence
from functools import partial

from edge_agent.http_port import Answer, HttpPort, Request, refusal
from edge_agent.judge.base import Hear, Judge, Ruling, read_ruling
from edge_agent.judge.settings import HttpJudge as HttpConfig
from edge_agent.judge.settings import JudgeConfig
from edge_agent.judge.settings import ModbusJudge as ModbusConfig
from edge_agent.judge.settings import MqttJudge as MqttConfig
from edge_agent.trigger.base import Tell
from edge_agent.trigger.watched import SideLost, Watched
from fleet_contract.clock import Clock
from fleet_contract.errors import DataError
from fleet_contract.names import Verdict

PATH = "/verdicts"
RULINGS = {1: Verdict.ACCEPT, 2: Verdict.REJECT}
"""By the register's value, as in the agent's own output."""
_MOST_BYTES = 10_000


def make_judge(config: JudgeConfig, clock: Clock, tell: Tell) -> Judge:
    """Raises ResourceError for a port that is taken, ConfigError for files that cannot be read."""
    if isinstance(config, HttpConfig):
        return HttpJudge(config.host, config.port, clock)
    if isinstance(config, MqttConfig):
        return MqttJudge(config, clock, tell)
    from edge_agent.trigger.modbus import ModbusCoil

    return Watched(ModbusCoil(config, clock, partial(_rulings, config)), "judge", tell)


def _rulings(
    config: ModbusConfig, ask: Callable[[int], int], at_s: float, passed: bool
) -> Sequence[Ruling]:
    """What a set coil says; one that was set before anybody looked is of a part of long ago."""
    if passed:
        return []
    value = ask(config.verdict_register)
    if value not in RULINGS:
        where = f"register {config.verdict_register} holds {value}"
        raise SideLost(f"{where}, expected 1 for accept or 2 for reject")
    return [Ruling(RULINGS[value], at_s)]


class HttpJudge:
    """`POST /verdicts`. Binds at once. Raises ResourceError where the port is taken."""

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        self._clock = clock
        self._hear: Hear | None = None
        self._port = HttpPort(host, port, PATH, _MOST_BYTES, self._take)

    @property
    def port(self) -> int:
        """The port that was taken."""
        return self._port.port

    def start(self, hear: Hear) -> None:
        self._hear = hear
        self._port.start()

    def close(self) -> None:
        self._port.close()

    def _take(self, request: Request) -> Answer:
        assert self._hear is not None
        try:
            ruling = read_ruling(request.body, self._clock.monotonic())
        except DataError as error:
            return refusal(400, str(error))
        self._hear(ruling)
        return Answer(202, {"verdict": str(ruling.verdict)})


class MqttJudge:
    """Messages of the plant's broker; one that is not understood is told once, until one is."""

    def __init__(self, config: MqttConfig, clock: Clock, tell: Tell) -> None:
        from edge_agent.trigger.mqtt import TopicListener

        self._clock, self._tell = clock, tell
        self._puzzled = False
        self._topic = TopicListener(config, "judge", tell)

    def start(self, hear: Hear) -> None:
        self._topic.start(lambda payload: self._take(payload, hear))

    def close(self) -> None:
        self._topic.close()

    def _take(self, payload: bytes, hear: Hear) -> None:
        try:
            ruling = read_ruling(payload, self._clock.monotonic())
        except DataError as error:
            if not self._puzzled:
                self._tell("judge", str(error), "warning")
            self._puzzled = True
            return
        self._puzzled = False
        hear(ruling)
