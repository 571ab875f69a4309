"""The broker: mosquitto, with a configuration, a port and a data folder of our own."""

from fleet_server.broker.config import prepare_broker, render_acl, render_config
from fleet_server.broker.process import BrokerProcess, start_broker

__all__ = ["BrokerProcess", "prepare_broker", "render_acl", "render_config", "start_broker"]
