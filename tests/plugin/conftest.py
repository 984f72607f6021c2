"""Runs of pytest in a process of their own that reach no Incus."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CONFTEST = """
from pathlib import Path
import pytest
pytest_plugins = ["fixtures.plugin"]

def pytest_addoption(parser):
    parser.addoption("--refused-in")

@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    # Only what lies below `drills` is recorded as a run.
    import fixtures.plugin.report as report
    report.ROOT = Path(__file__).parent
"""


def run_pytest(*options, cwd=ROOT, stdout=subprocess.PIPE, **environment):
    """Run pytest on `drills`; no plugin of another checkout and no cache."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "drills", "-p", "no:cacheprovider", *map(str, options)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )


def refused(*options):
    """Run pytest that is refused in words, before anything is contacted; return what it says."""
    done = run_pytest(*options)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "nothing was " in said and "Traceback" not in said
    return said


def evidence_of(reports):
    """Return the evidence of the newest run."""
    return json.loads(max(reports.glob("2*/evidence.json")).read_text())


@pytest.fixture
def run_tests(tmp_path):
    """Run tests of the child's own as drills of the fleet: (process, evidence)."""

    def run(tests, *options):
        (tmp_path / "drills").mkdir(exist_ok=True)
        (tmp_path / "conftest.py").write_text(CONFTEST)
        (tmp_path / "drills" / "test_audit.py").write_text(tests)
        settings = [f"--rootdir={tmp_path}", "-c", ROOT / "pyproject.toml"]
        done = run_pytest(*settings, f"--reports={tmp_path}/reports", *options, cwd=tmp_path)
        return done, evidence_of(tmp_path / "reports")

    return run
