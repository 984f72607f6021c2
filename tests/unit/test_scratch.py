"""Scratch directories: gone after use, left by a kill, removed by the next run, and by no other."""

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.errors import CouldNotLook
from fixtures.files import PREFIX, delete_left_scratch, scratch_directory

HOLD = """
import sys, time
from fixtures.files import scratch_directory
with scratch_directory() as path:
    (path / "plain.tar").write_text("plaintext")
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder():
    """Another process with a scratch directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process, Path(process.stdout.readline().strip())


def test_it_is_private_and_gone_afterwards():
    with scratch_directory() as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        (path / "file").write_text("x")
    assert not path.exists()


def test_no_room_for_it_is_told(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/proc/none")
    with pytest.raises(CouldNotLook, match="no directory for /proc/none/atlas-drills-scratch-"):
        scratch_directory().__enter__()
    assert delete_left_scratch() == []


def test_that_of_a_living_process_stays(holder):
    assert delete_left_scratch() == []
    assert (holder[1] / "plain.tar").exists()
    with scratch_directory() as own:
        assert delete_left_scratch() == []
        assert own.exists()


def test_that_of_a_killed_process_goes(holder):
    process, path = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.exists()
    assert delete_left_scratch() == [str(path)]
    assert not path.exists()


def test_what_is_nobodys_scratch_stays(temporary):
    target = temporary / "precious"
    target.mkdir()
    (temporary / f"{PREFIX}link").symlink_to(target)
    (temporary / f"{PREFIX}file").write_text("x")
    for name in ("atlas-drills-0", "atlas-drills-young", "other"):
        (temporary / name).mkdir()
    assert delete_left_scratch() == []
    assert len(list(temporary.iterdir())) == 6
