"""Old evidence as a test input."""

import os
from pathlib import Path

import pytest

from fixtures.evidence.writer import read_evidence
from tests.alarm import AlarmKeeper


@pytest.fixture(scope="session")
def golden():
    """A run with all five verdicts, an imitation, a trace, a fault and something left behind."""
    return read_evidence(Path(__file__).parent / "report" / "evidence-v1.json")


def pytest_configure(config):
    # A run that a test starts would load all of Hypothesis at its end, as no user's does.
    os.environ["PYTEST_ADDOPTS"] = "-p no:hypothesispytest"
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(AlarmKeeper(), "alarm-keeper")
