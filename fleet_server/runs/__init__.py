"""Training runs: a durable queue, leased by workers over HTTP."""
