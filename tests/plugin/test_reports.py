"""What cannot be read or written is one line for the operator; the rest is written all the same."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.plugin import report

ROOT = Path(__file__).resolve().parents[2]
DRILL = "drills/test_restore_from_snapshot.py"


def run(reports: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run of drills that reaches no Incus, so that each ends at once."""
    argv = [sys.executable, "-m", "pytest", DRILL, "--incus=unix", f"--reports={reports}"]
    return subprocess.run(
        [*argv, "-p", "no:cacheprovider", "-q", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "INCUS_SOCKET": str(reports / "none"), **environment},
    )


def evidence(reports: Path) -> dict[str, object]:
    (path,) = reports.glob("*/evidence.json")
    found: dict[str, object] = json.loads(path.read_text())
    return found


def test_a_history_that_is_none_keeps_no_report_from_being_written(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('"str"\n{"run": "x"}\n' + "[" * 100_000 + "\n")
    done = run(tmp_path)
    assert "Traceback" not in done.stdout + done.stderr
    (directory,) = tmp_path.glob("*/")
    names = ("evidence.json", "junit.xml", "metrics.prom", "report.html")
    assert [name for name in names if not (directory / name).stat().st_size] == []
    modes = {name: stat.S_IMODE((directory / name).stat().st_mode) for name in names}
    assert modes == dict.fromkeys(names, 0o640)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o750
    warnings = evidence(tmp_path)["warnings"]
    for number in (1, 2, 3):
        told = f"history {tmp_path}/history.jsonl: line {number} is left out"
        assert told in str(warnings) and f"WARNING: {told}" in done.stdout
        assert told in (directory / "report.html").read_text()


def test_a_history_that_cannot_be_read_is_a_fault_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").mkdir()
    done = run(tmp_path)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    told = f"the history was not read: {tmp_path}/history.jsonl: Is a directory"
    assert told in str(evidence(tmp_path)["errors"])
    assert f"ERROR: {told}" in done.stdout


def test_a_directory_that_cannot_be_written_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", Path("/proc/none"), Path("/dev/full")):
        done = run(place)
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert "nothing was contacted" in done.stderr and "HINT: " in done.stderr
        assert "Traceback" not in done.stdout + done.stderr


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert report.operator() == f"uid {os.geteuid()}"


FULL = """
import errno, os
import pytest
through = os.fsync

def full(descriptor):
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    if os.environ["FULL"] in path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    through(descriptor)

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    os.fsync = full
"""


@pytest.mark.parametrize("file", ["evidence.json", "metrics.prom"])
def test_a_disk_that_fills_up_is_told_in_a_line(tmp_path: Path, file: str) -> None:
    (tmp_path / "full_disk.py").write_text(FULL)
    reports = tmp_path / "reports"
    done = run(reports, "-p", "full_disk", PYTHONPATH=f"{tmp_path}:{ROOT}", FULL=file)
    assert done.returncode not in (0, pytest.ExitCode.INTERNAL_ERROR)
    assert "Traceback" not in done.stdout + done.stderr
    what = file.split(".")[0]
    assert f"ERROR: the {what} was not written: " in done.stdout or (
        f"ERROR: the {what} were not written: " in done.stdout
    )
    assert "No space left on device" in done.stdout
    (directory,) = reports.glob("*/")
    for name in ("report.html", "junit.xml", "evidence.json"):
        assert (directory / name).stat().st_size
