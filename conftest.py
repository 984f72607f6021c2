"""Loads the engine's pytest plugin; nothing else."""

pytest_plugins = ["fixtures.plugin"]
