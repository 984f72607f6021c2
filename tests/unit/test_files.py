"""Files are written whole or not at all, also where the disk is full."""

import os
import stat

import pytest

from fixtures.files import append_line, write_atomically


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
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(path, "half")
    assert path.read_text() == "older"
    assert os.listdir(tmp_path) == ["file"]


def test_half_a_line_of_a_full_disk_is_taken_back(tmp_path, monkeypatch):
    path, write = tmp_path / "log", os.write
    append_line(path, "first")
    with monkeypatch.context() as full:
        full.setattr("os.write", lambda descriptor, data: write(descriptor, data[:3]))
        with pytest.raises(OSError, match="No space left on device"):
            append_line(path, "second")
    append_line(path, "third")
    assert path.read_text() == "first\nthird\n"


def test_a_line_that_a_crash_tore_is_ended_before_the_next(tmp_path):
    path = tmp_path / "log"
    path.write_text("first\nto")
    append_line(path, "third")
    assert path.read_text() == "first\nto\nthird\n"
