"""Old evidence as a test input."""

from pathlib import Path

import pytest

from fixtures.evidence.writer import read_evidence
from tests.alarm import AlarmKeeper


@pytest.fixture(scope="session")
def golden():
    """A run with all five verdicts, an imitation, a trace, a fault and something left behind."""
    return read_evidence(Path(__file__).parent / "report" / "evidence-v1.json")


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(AlarmKeeper(), "alarm-keeper")
