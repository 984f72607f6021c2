"""Writes down that the tests which spoil recoveries were green, and at which commit.

The report of a drill says it of its own commit: an alarm that was never seen to ring is none
(fixtures/plugin/report.py reads it).
"""

import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fixtures.files import write_atomically
from fixtures.plugin.report import alarm_file, git

ROOT = Path(__file__).parents[1]
KINDS = ("sabotage", "mutations")


def clean_commit():
    """The commit of this checkout; None where it is changed, or is none."""
    return git("rev-parse", "HEAD") if git("status", "--porcelain") == "" else None


class AlarmKeeper:
    """Takes the outcome of each such test; at the end of a green run that made all, writes."""

    def __init__(self):
        self.commit = clean_commit()
        self.outcomes = {}

    def pytest_runtest_logreport(self, report):
        kind = kind_of(report.nodeid)
        if kind is not None and (report.when == "call" or report.outcome != "passed"):
            self.outcomes[report.nodeid] = report.outcome

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session, exitstatus):
        option = session.config.option
        is_whole = not option.keyword and not option.markexpr and not option.collectonly
        is_whole = is_whole and not any("::" in argument for argument in session.config.args)
        if exitstatus == 0 and is_whole and self.commit is not None and has_all(self.outcomes):
            # What was edited while the tests ran was not tested.
            if clean_commit() == self.commit:
                write_atomically(
                    alarm_file(self.commit), json.dumps(record(self.commit, self.outcomes))
                )


def kind_of(test):
    """The directory of KINDS that a test is in; None for others."""
    return next((kind for kind in KINDS if test.startswith(f"tests/{kind}/")), None)


def has_all(outcomes):
    """Whether no file of these directories was left out, and nothing has failed."""
    made = {test.partition("::")[0] for test in outcomes}
    files = {
        path.relative_to(ROOT).as_posix()
        for kind in KINDS
        for path in (ROOT / "tests" / kind).glob("test_*.py")
    }
    return files <= made and "failed" not in outcomes.values()


def record(commit, outcomes):
    """What fixtures.evidence.record.AlarmRecord takes."""
    passed = Counter(kind_of(test) for test, outcome in outcomes.items() if outcome == "passed")
    lines = sorted(f"{outcome} {test}\n" for test, outcome in outcomes.items())
    return {
        "commit": commit,
        "rang": datetime.now(UTC).isoformat(),
        **{kind: passed[kind] for kind in KINDS},
        "skipped": sum(outcome == "skipped" for outcome in outcomes.values()),
        "digest": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }
