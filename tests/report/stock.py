"""Large runs for tests: the sample's drills, as often as it takes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.scale_records import synthetic
from fixtures.evidence.record import RunRecord
from fixtures.evidence.writer import read_evidence, write_evidence


def large_run(drills: int, directory: Path) -> RunRecord:
    """A run of so many drills, as it is read from its evidence."""
    return read_evidence(write_evidence(synthetic(drills), directory))
