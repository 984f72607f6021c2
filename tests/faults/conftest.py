"""Runs of `pytest drills/` in a process of their own, to be hurt."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fixtures.evidence.writer import read_evidence
from fixtures.files import PREFIX
from fixtures.incus.client import Incus
from fixtures.incus.guard import DrillPolicy

ROOT = Path(__file__).resolve().parents[2]
DRILL = "snapshot and prometheus"
WITH_SIGNALS = ("env", "--default-signal=HUP,INT")
"""A shell starts its background jobs with SIGINT ignored, nohup with SIGHUP: so would be theirs."""


class DrillRun:
    """One run of drills as a child process that can be watched and hurt."""

    def __init__(self, socket, reports, *options, drill=DRILL, environment=None):
        self.reports = reports
        # Its own: other runs of this machine reap what a killed one leaves in the usual place.
        self.temporary = reports.with_name("tmp")
        self.temporary.mkdir(exist_ok=True)
        own = {"INCUS_SOCKET": str(socket), "TMPDIR": str(self.temporary)}
        self.process = subprocess.Popen(
            [*WITH_SIGNALS, sys.executable, "-m", "pytest", "drills", "--incus=unix"]
            + ["-k", f"({drill}) and rehearsal", f"--reports={reports}"]
            # The last checks come sooner: other tests are about them. -v: a line for each phase.
            + ["-v", "-p", "no:cacheprovider", "-p", "tests.faults.brief", *options],
            cwd=ROOT,
            env={**os.environ, **own, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""

    def read_until(self, word, seconds=60):
        """Read the child's lines until one holds `word`."""
        deadline = time.monotonic() + seconds
        for line in self.process.stdout:
            self.output += line
            if word in line:
                return
            assert time.monotonic() < deadline, f"{word!r} did not come:\n{self.output}"
        raise AssertionError(f"ended without {word!r}:\n{self.output}")

    def hurt(self, number):
        """Send a signal to the run (kill -9 to all of its processes)."""
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def finish(self, seconds=120):
        """Wait for the end; returns the exit status."""
        self.output += self.process.communicate(timeout=seconds)[0]
        return self.process.returncode

    @property
    def evidence(self):
        """The evidence of this run; if it was killed, with what its journal holds."""
        newest = max(self.reports.glob("*/evidence.json"), key=lambda path: path.stat().st_mtime)
        return json.loads(read_evidence(newest).model_dump_json())


@pytest.fixture
def directories(monkeypatch):
    """Names of the directories for exports that the test's runs have left.

    They are not where those of other runs are: each run would reap those of the others.
    """
    with tempfile.TemporaryDirectory(prefix="ad-", dir="/var/tmp") as place:
        monkeypatch.setenv("TMPDIR", place)
        yield lambda: [path.name for path in Path(place).glob(f"{PREFIX}*")]


@pytest.fixture
def start(drill_project, tmp_path, directories):
    """Starts runs against the lab; whatever still lives afterwards is killed."""
    started = []

    def begin(*options, **settings):
        run = DrillRun(drill_project.endpoint, tmp_path / "reports", *options, **settings)
        started.append(run)
        return run

    yield begin
    for run in started:
        if run.process.poll() is None:
            run.hurt(signal.SIGKILL)
        run.process.stdout.close()
        run.process.wait()


@pytest.fixture
def server(drill_project):
    """A read-only view of the lab's server."""
    return Incus(drill_project.endpoint, DrillPolicy("reader"))


@pytest.fixture
def drill_projects(server, drill_project):
    """Names of the drill projects that have come to the server since the test began."""

    def listed():
        projects = server.get_list("projects")
        return {p["name"] for p in projects if p["name"].startswith("drill-")}

    before = listed()
    return lambda: listed() - before
