"""The server: registry, releases, rollouts, drift, labels, training runs, API and console."""
