"""Old evidence as a test input."""

from pathlib import Path

import pytest

from fixtures.evidence.writer import read_evidence


@pytest.fixture(scope="session")
def golden():
    """A run with all five verdicts, an imitation, a trace, a fault and something left behind."""
    return read_evidence(Path(__file__).parent / "report" / "evidence-v1.json")
