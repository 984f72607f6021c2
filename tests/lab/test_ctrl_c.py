"""`./run drills` is interrupted, and leaves a report and no lab."""

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from fixtures.lab.daemon import Daemon
from fixtures.plugin.interrupts import ENDING_MESSAGE
from tests.faults.conftest import WITH_SIGNALS
from tests.lab.test_lab_lifecycle import wait_for

ROOT = Path(__file__).parents[2]
DRILL = ("drills", "-v", "-k", "mosquitto and snapshot and rehearsal")


@pytest.fixture
def home():
    """Where the lab of the interrupted run is kept; short, since the path of a socket is."""
    made = Path(tempfile.mkdtemp(prefix="atlas-ctrl-c-", dir="/var/tmp"))
    yield made
    shutil.rmtree(made)


def interrupted(home, text, after=0.0):
    """Run `./run drills` of one service, and press Ctrl-C so many seconds after a text has come.

    Returns exit status, output and evidence; the lab is gone.
    """
    process = subprocess.Popen(
        [*WITH_SIGNALS, str(ROOT / "run"), *DRILL, f"--reports={home / 'reports'}"],
        env={**os.environ, "ATLAS_DRILLS_STATE": str(home / "s")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A terminal sends Ctrl-C to the whole group: `./run`, tox and pytest.
        start_new_session=True,
    )
    assert process.stdout is not None
    output, is_sent = "", False
    with process.stdout as stream:
        # By what has come, not by lines: pytest ends that of a test long after it.
        while part := os.read(stream.fileno(), 65536):
            output += part.decode(errors="replace")
            if text in output and not is_sent:
                time.sleep(after)
                os.killpg(process.pid, signal.SIGINT)
                is_sent = True
    status = process.wait(timeout=60)
    assert is_sent
    assert "Traceback" not in output, output
    return status, output, what_is_left(home)


def what_is_left(home):
    """The evidence of a run that has ended; nothing else of it is left."""
    (evidence,) = (home / "reports").glob("*/evidence.json")
    record = json.loads(evidence.read_text())
    assert record["finished"]
    assert record["cleanup"]["left"] == record["errors"] == []
    assert not (home / "s" / "lab").exists()
    assert not Daemon("lab", home / "s" / "lab").has_leftovers()
    return record


RESTORING = "mosquitto-snapshot-rehearsal: destroy"


def test_ctrl_c_while_the_lab_comes_up_leaves_a_report_and_no_lab(home):
    status, output, record = interrupted(home, "1 drill of fleet", after=0.25)
    assert status != 0
    assert record["interrupted"]
    (page,) = (home / "reports").glob("*/report.html")
    assert "interrupted" in page.read_text()
    assert ENDING_MESSAGE not in output
    assert record["drills"] == []


def test_a_terminal_that_is_gone_ends_the_run_as_ctrl_c_does(home):
    drill = [*DRILL, f"--reports={home / 'reports'}"]
    pid, terminal = pty.fork()
    if pid == 0:
        state = str(home / "s")
        argv = [*WITH_SIGNALS, str(ROOT / "run"), *drill]
        os.execvpe(argv[0], argv, {**os.environ, "ATLAS_DRILLS_STATE": state})
    output = ""
    # The kernel's answer to a terminal without a process is EIO.
    with contextlib.suppress(OSError):
        while RESTORING not in output:
            output += os.read(terminal, 65536).decode(errors="replace")
    assert RESTORING in output, output
    os.close(terminal)
    os.waitpid(pid, 0)
    # No process of ours waits for it.
    wait_for(lambda: has_ended(home), "the run has ended, wrote its page, and its lab is gone", 90)
    assert what_is_left(home)["interrupted"]


def has_ended(home):
    found = [json.loads(path.read_text()) for path in home.glob("reports/*/evidence.json")]
    has_page = bool(list(home.glob("reports/*/report.html")))
    return has_page and found[0]["finished"] and not (home / "s" / "lab").exists()


def test_ctrl_c_after_the_last_drill_is_answered_and_the_report_is_whole(home):
    # The line of the last drill is printed a moment before the run begins to end.
    _, output, record = interrupted(home, "[1/1]", after=0.25)
    assert ENDING_MESSAGE in output
    assert not record["interrupted"]
    assert [drill["verdict"] for drill in record["drills"]] == ["recovered"]
