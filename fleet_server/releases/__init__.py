"""Releases: bundles with their approvals, from a submitted archive to a published target."""
