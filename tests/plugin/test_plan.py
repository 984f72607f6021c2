"""`--plan` says of an existing backup what is read, and that nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def planned(*options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "drills", "-q", "--plan", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_existing_backup_is_read_and_nothing_is_lost(tmp_path: Path) -> None:
    told = planned(
        *("-m", "existing", "-k", "mosquitto or state", "--incus=unix", "--as-of=2026-11-20"),
        f"--backups={tmp_path}",
    )
    assert (
        "the newest snapshot of 2026-11-20T23:59:59.999999+00:00 of volume mosquitto01-data" in told
    )
    assert (
        f"the newest tarball of 2026-11-20T23:59:59.999999+00:00 of mosquitto in {tmp_path}" in told
    )
    assert "a bucket on pool terraform-state, from the export, with fresh keys" in told
    assert told.count("destroy: nothing; at the end what was made") == 3
    assert "nothing was contacted, made or destroyed" in told


def test_a_wrong_date_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "drills", "--plan", "--as-of=yesterday"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 4
    assert "--as-of=yesterday" in done.stderr and "nothing was contacted" in done.stderr
    assert "Traceback" not in done.stderr
