"""From an assignment to a committed bundle, each step durable before the next begins."""
