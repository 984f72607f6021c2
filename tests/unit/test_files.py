"""Files: written whole or not at all, also where the disk is full; scratch outlives no run."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.errors import CouldNotLook
from fixtures.files import (
    PREFIX,
    append_line,
    delete_left_scratch,
    scratch_directory,
    write_atomically,
)


def test_a_file_and_its_directory_are_for_the_owner_and_the_group(tmp_path):
    path, log = tmp_path / "run" / "file", tmp_path / "run" / "log"
    old = os.umask(0o022)
    try:
        write_atomically(path, "whole")
        append_line(log, "line")
        write_atomically(tmp_path / "secret", b"\xff", 0o600)
    finally:
        os.umask(old)
    modes = [stat.S_IMODE(file.stat().st_mode) for file in (path, log, path.parent)]
    assert modes == [0o640, 0o640, 0o750]
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) in (["file", "log"], ["log", "file"])


def test_a_failed_write_leaves_the_older_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "older")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        write_atomically(path, "half")
    assert path.read_text() == "older"
    assert os.listdir(tmp_path) == ["file"]


def test_half_a_line_of_a_full_disk_is_taken_back(tmp_path, monkeypatch):
    path, write = tmp_path / "log", os.write
    append_line(path, "first")
    with monkeypatch.context() as full:
        full.setattr("os.write", lambda descriptor, data: write(descriptor, data[:3]))
        with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
            append_line(path, "second")
    append_line(path, "third")
    assert path.read_text() == "first\nthird\n"


def test_a_line_that_a_crash_tore_is_ended_before_the_next(tmp_path):
    path = tmp_path / "log"
    path.write_text("first\nto")
    append_line(path, "third")
    assert path.read_text() == "first\nto\nthird\n"


HOLD = """
import sys, time
from fixtures.files import scratch_directory
with scratch_directory() as path:
    (path / "plain.tar").write_text("plaintext")
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(temporary):
    """Another process with a scratch directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process, Path(process.stdout.readline().strip())


def test_scratch_is_private_and_gone_afterwards(temporary):
    with scratch_directory() as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        (path / "file").write_text("x")
    assert not path.exists()


def test_no_room_for_scratch_is_told(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/proc/none")
    with pytest.raises(CouldNotLook, match="no directory for /proc/none/atlas-drills-scratch-"):
        scratch_directory().__enter__()
    assert delete_left_scratch() == []


def test_scratch_of_a_living_process_stays(holder):
    assert delete_left_scratch() == []
    assert (holder[1] / "plain.tar").exists()
    with scratch_directory() as own:
        assert delete_left_scratch() == []
        assert own.exists()


def test_scratch_of_a_killed_process_goes(holder):
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
