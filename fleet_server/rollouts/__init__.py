"""Rollouts: a release on its way through stages, each closed by a gate on measured numbers."""
