"""From windows to an alarm, and from an incident to new training data."""
