"""The MQTT side: dispatch, group commits, acknowledgements, samples in blocks."""
