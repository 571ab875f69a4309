"""Devices and lines: who they are, what they report, what the server believes."""
