"""A trained network as files for the runtimes of devices."""
