"""What cannot be read or written is one line for the operator; the rest is written all the same."""

import os
import stat

import pytest

from fixtures.plugin.options import operator
from tests.plugin.conftest import ROOT, evidence_of, refused, run_pytest

FILES = ("evidence.json", "junit.xml", "metrics.prom", "report.html")


def run(reports, *options, **environment):
    """Run drills that reach no Incus, so that each ends at once."""
    drill = ("-k", "restored_from_snapshot", "--incus=unix", f"--reports={reports}", "-q")
    return run_pytest(*drill, *options, INCUS_SOCKET=str(reports / "none"), **environment)


def test_a_history_that_is_none_keeps_no_report_from_being_written(tmp_path):
    (tmp_path / "history.jsonl").write_text('"str"\n{"run": "x"}\n' + "[" * 100_000 + "\n")
    done = run(tmp_path)
    assert "Traceback" not in done.stdout + done.stderr
    (directory,) = tmp_path.glob("*/")
    modes = {name: stat.S_IMODE((directory / name).stat().st_mode) for name in FILES}
    assert modes == dict.fromkeys(FILES, 0o640)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o750
    warnings = evidence_of(tmp_path)["warnings"]
    for number in (1, 2, 3):
        words = f"history {tmp_path}/history.jsonl: line {number} is left out"
        assert words in str(warnings) and f"WARNING: {words}" in done.stdout
        assert words in (directory / "report.html").read_text()


def test_a_history_that_cannot_be_read_is_a_fault_of_the_run(tmp_path):
    (tmp_path / "history.jsonl").mkdir()
    done = run(tmp_path)
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr
    words = f"the history was not read: {tmp_path}/history.jsonl: Is a directory"
    assert words in str(evidence_of(tmp_path)["errors"]) and f"ERROR: {words}" in done.stdout


def test_a_directory_that_cannot_be_written_ends_the_run_before_it_begins(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", "/proc/none"):
        assert "HINT: " in refused("--incus=unix", f"--reports={place}")


def test_a_user_without_a_name_has_a_number(monkeypatch):
    def getuser():
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", getuser)
    assert operator() == f"uid {os.geteuid()}"


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
def test_a_disk_that_fills_up_is_an_error_in_one_line(tmp_path, file):
    (tmp_path / "full_disk.py").write_text(FULL)
    reports = tmp_path / "reports"
    done = run(reports, "-p", "full_disk", PYTHONPATH=f"{tmp_path}:{ROOT}", FULL=file)
    assert done.returncode not in (0, pytest.ExitCode.INTERNAL_ERROR)
    assert "Traceback" not in done.stdout + done.stderr
    what = {"evidence.json": "evidence was", "metrics.prom": "metrics were"}[file]
    assert f"ERROR: the {what} not written: " in done.stdout
    assert "No space left on device" in done.stdout
    (directory,) = reports.glob("*/")
    assert all((directory / name).stat().st_size for name in FILES if name != file)
