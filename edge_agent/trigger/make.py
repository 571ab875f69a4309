"""The trigger that the configuration asks for. Libraries are loaded for the one that is used."""

from functools import partial

from edge_agent.trigger.base import Tell, Trigger
from edge_agent.trigger.http import HttpTrigger
from edge_agent.trigger.settings import HttpTrigger as HttpConfig
from edge_agent.trigger.settings import ModbusTrigger as ModbusConfig
from edge_agent.trigger.settings import MqttTrigger as MqttConfig
from edge_agent.trigger.settings import SignalConfig
from edge_agent.trigger.watched import Watched
from fleet_contract.clock import Clock


def make_trigger(config: SignalConfig, clock: Clock, tell: Tell) -> Trigger:
    """Raises ResourceError for a port that is taken, ConfigError for files that cannot be read."""
    if isinstance(config, HttpConfig):
        return HttpTrigger(config.host, config.port, clock)
    if isinstance(config, MqttConfig):
        from edge_agent.trigger.mqtt import MqttTrigger

        return MqttTrigger(config, clock, tell)
    if isinstance(config, ModbusConfig):
        from edge_agent.trigger.modbus import ModbusCoil, read_signal

        return Watched(ModbusCoil(config, clock, partial(read_signal, config)), "trigger", tell)
    from edge_agent.trigger.gpio import GpioLine

    return Watched(GpioLine(config), "trigger", tell)
