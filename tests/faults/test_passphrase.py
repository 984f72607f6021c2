"""The passphrase of an encrypted backup is in no command line, no environment and no file."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from fixtures.backups.tarball import inspect
from fixtures.secrets import Secret
from tests.faults.known_passphrase import BREAK, KNOWN, PLANTED

DRILL = "encrypted_tarball"
PLUGIN = ("-p", "tests.faults.known_passphrase")
WORDS = (b"--symmetric", b"--decrypt")


class Watch(threading.Thread):
    """Reads every process and every file of a directory, again and again, until `end`.

    Args:
        directory: of temporary files.
        keep: where a finished encrypted tarball is copied to, before it is gone.
    """

    def __init__(self, directory, keep):
        super().__init__(daemon=True)
        self.directory, self.keep = directory, keep
        self.ended = threading.Event()
        self.found, self.worked, self.rounds = set(), set(), 0

    def run(self):
        while not self.ended.is_set():
            self.read_all()

    def read_all(self):
        self.rounds += 1
        for process in Path("/proc").glob("[0-9]*"):
            for what in ("cmdline", "environ"):
                content = read(process / what)
                if KNOWN.encode() in content:
                    self.found.add(what)
                if what == "cmdline" and content.startswith(b"gpg\0"):
                    self.worked |= set(content.split(b"\0")) & set(WORDS)
        # Unlike rglob, walk does not mind that a directory is gone before it is entered.
        for directory, _, names in os.walk(self.directory):
            for path in (Path(directory, name) for name in names):
                content = read(path)
                if KNOWN.encode() in content:
                    self.found.add(path.name)
                if path.suffix == ".gpg" and not self.keep.exists():
                    self.keep.write_bytes(content)

    def end(self):
        self.ended.set()
        self.join()


def read(path):
    """What can be read of it; it may be gone by now, or be none of our business."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.fixture
def watch(tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    watch = Watch(temporary, tmp_path / "kept.tar.zst.gpg")
    yield watch
    if watch.is_alive():
        watch.end()


@pytest.fixture
def run(start, watch, tmp_path):
    """Runs the encrypted drill with everything logged; returns the run and all that it wrote."""

    def run(*options, **environment):
        log = tmp_path / "log"
        logged = (f"--log-file={log}", "--log-file-level=DEBUG", "--log-level=DEBUG", "-vv")
        where = {"TMPDIR": str(watch.directory), **environment}
        child = start(*PLUGIN, *logged, *options, drill=DRILL, environment=where)
        watch.start()
        child.finish()
        watch.end()
        written = [path for path in child.reports.rglob("*") if path.is_file()]
        assert {"evidence.json", "report.html", "junit.xml"} <= {path.name for path in written}
        return child, {path.name: path.read_bytes() for path in (*written, log)}

    return run


def test_a_passphrase_on_a_command_line_and_in_an_environment_would_be_seen(watch):
    (watch.directory / "note").write_text(f"it is {KNOWN}")
    child = subprocess.Popen(
        ["sh", "-c", "read line", KNOWN], stdin=subprocess.PIPE, env={"PASSPHRASE": KNOWN}
    )
    try:
        # Popen returns a moment before the kernel shows the arguments of what it has started.
        for _ in range(100):
            watch.read_all()
            if len(watch.found) == 3:
                break
    finally:
        child.communicate(timeout=10)
    assert watch.found == {"cmdline", "environ", "note"}


def test_while_a_drill_runs_its_passphrase_is_nowhere_to_be_seen(run, watch):
    child, written = run()
    assert child.process.returncode == 0, child.output
    assert watch.worked == set(WORDS), "gpg was seen at both of its works"
    seen = inspect(watch.keep, volume="step-ca01-data", passphrase=Secret(KNOWN))
    assert seen.envelope, "the known passphrase is the one that was used"
    assert watch.found == set()
    assert KNOWN not in child.output
    assert [name for name, content in written.items() if KNOWN.encode() in content] == []


def test_a_trace_of_a_defect_tells_no_passphrase(run, watch):
    child, written = run("--showlocals", "--tb=long", **{BREAK: "1"})
    assert child.process.returncode == 1
    assert PLANTED in child.output, "the trace is there"
    assert watch.found == set()
    assert KNOWN not in child.output
    assert [name for name, content in written.items() if KNOWN.encode() in content] == []
