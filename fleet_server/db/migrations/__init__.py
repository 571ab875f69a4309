"""Schema migrations; one head."""
