"""Trainer: data -> train -> quantize -> evaluate -> package, on a machine of its own or for a server."""

import os

# Before torch loads its OpenMP: threads that spin while they wait make training ten times slower
# where other processes (a server, cameras, agents) share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
