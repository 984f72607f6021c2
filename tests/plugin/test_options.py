"""What an operator sees of the plugin without any Incus: ids, collection, exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("prometheus", "step-ca", "alertmanager", "mosquitto")


def collected(*options):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "drills", "--collect-only", "-q", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_the_ids_say_what_is_drilled():
    assert collected() == [
        f"drills/test_restore_from_{kind}.py::test_service_restored_from_{kind}[{name}-rehearsal]"
        for kind in ("snapshot", "tarball")
        for name in SERVICES
    ]


def test_a_newcomer_finds_a_drill_by_its_words():
    assert collected("-k", "step-ca and tarball") == [
        "drills/test_restore_from_tarball.py::test_service_restored_from_tarball[step-ca-rehearsal]"
    ]


def test_markers_select_scenarios():
    assert len(collected("-m", "snapshot")) == len(SERVICES)


def test_collecting_makes_no_report(tmp_path):
    assert collected(f"--reports={tmp_path}")
    assert list(tmp_path.iterdir()) == []
