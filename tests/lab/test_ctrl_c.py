"""Needs root and Linux: `./run drills` is interrupted, and leaves a report and no lab."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.lab.daemon import Daemon
from tests.faults.conftest import WITH_SIGINT

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="the lab needs root on Linux: it makes namespaces, mounts and loop devices",
)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def home() -> Iterator[Path]:
    """Where the lab of the interrupted run is kept; short, since the path of a socket is."""
    made = Path(tempfile.mkdtemp(prefix="atlas-ctrl-c-", dir="/var/tmp"))
    yield made
    shutil.rmtree(made)


def interrupted(home: Path, at: str) -> tuple[int, str]:
    """Run `./run drills` of one service, and press Ctrl-C at a line: (exit status, output)."""
    process = subprocess.Popen(
        [*WITH_SIGINT, str(ROOT / "run"), "drills", "-k", "mosquitto and snapshot and rehearsal"]
        + [f"--reports={home / 'reports'}"],
        env={**os.environ, "ATLAS_DRILLS_STATE": str(home / "s")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A terminal sends Ctrl-C to the whole group: `./run`, tox and pytest.
        start_new_session=True,
    )
    assert process.stdout is not None
    output = ""
    with process.stdout as lines:
        for line in lines:
            output += line
            if at in line:
                os.killpg(process.pid, signal.SIGINT)
    return process.wait(timeout=60), output


WHEN = {
    "while the lab comes up": "golden state: in the cache",
    "while it is filled": "lab lab: up on",
    "while a service is restored": "mosquitto-snapshot-rehearsal: destroy",
}


@pytest.mark.parametrize("at", WHEN.values(), ids=WHEN)
def test_ctrl_c_leaves_a_report_and_no_lab(home: Path, at: str) -> None:
    status, output = interrupted(home, at)
    assert at in output
    assert status != 0
    assert "Traceback" not in output
    (evidence,) = (home / "reports").glob("*/evidence.json")
    record = json.loads(evidence.read_text())
    assert record["interrupted"]
    assert record["finished"]
    assert record["cleanup"]["left"] == []
    assert record["errors"] == []
    assert "interrupted" in evidence.with_name("report.html").read_text()
    assert not (home / "s" / "lab").exists()
    assert not Daemon("lab", home / "s" / "lab").has_leftovers()
