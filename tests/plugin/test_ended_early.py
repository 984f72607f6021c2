"""A run that was ended early says so in its evidence, whatever ended it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def ended(reports, plugin):
    """A run of drills with a plugin that ends it: (what pytest did, evidence)."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "drills", "--incus=unix", f"--reports={reports}"]
        + ["-p", f"tests.plugin.{plugin}", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    (evidence,) = reports.glob("*/evidence.json")
    return done, json.loads(evidence.read_text())


def test_a_file_that_the_interrupted_test_lost_is_no_traceback(tmp_path):
    """Ctrl-C may hit any line, also one that is about to close a file: no error of anybody."""
    done, record = ended(tmp_path, "interrupted")
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "Traceback" not in done.stdout + done.stderr
    assert record["interrupted"]
    assert record["errors"] == []


def test_an_interrupt_at_an_instruction_without_a_line_is_no_traceback(tmp_path):
    """Some have none, as the jump at the end of a loop may; pytest cannot represent that."""
    done, record = ended(tmp_path, "lineless")
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "KeyboardInterrupt" in done.stdout
    assert record["interrupted"]


def test_an_error_of_pytest_itself_is_an_error_of_the_run(tmp_path):
    """Of the drills that it kept from being made, or from being recorded, nothing is known."""
    done, record = ended(tmp_path, "internal_error")
    assert done.returncode == pytest.ExitCode.INTERNAL_ERROR
    assert record["errors"] == ["pytest ended by an error of its own: OSError: planted defect"]
    reasons = {cell["reason"] for cell in record["not_verified"] if cell["promised"]}
    assert f"the run failed: {record['errors'][0]}" in reasons
