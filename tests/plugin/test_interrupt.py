"""Ctrl-C may hit any line, also one that is about to close a file: no error of anybody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_file_that_the_interrupted_test_lost_is_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "drills", "--incus=unix", f"--reports={tmp_path}"]
        + ["-p", "tests.plugin.interrupted", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "Traceback" not in done.stdout + done.stderr
    (evidence,) = tmp_path.glob("*/evidence.json")
    record = json.loads(evidence.read_text())
    assert record["interrupted"]
    assert record["errors"] == []
