"""A part as the JSON message that MQTT and HTTP carry."""

import json
import time

from edge_agent.output.signals import Told

FIELDS = ("part", "verdict", "reason", "time_s")


def encode(told: Told) -> bytes:
    """UTF-8 JSON: part number, verdict, why there is none, seconds since 1970 when it is told."""
    values = (told.part, told.verdict, told.reason, round(time.time(), 3))
    return json.dumps(dict(zip(FIELDS, values, strict=True))).encode()
