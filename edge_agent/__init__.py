"""The service on the device: inspects parts, reports what it saw, and updates its own models."""

VERSION = "0.1.0"

BUILD_TIME_S = 1_780_000_000.0
"""Seconds since 1970 before which no honest clock of this version stands."""
