"""Audits through pytest without any Incus: ids, verdicts, evidence, exit status, workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CONFTEST = """
from pathlib import Path
import pytest
pytest_plugins = ["fixtures.plugin"]

@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    # Only what lies below `drills` is recorded as a run.
    import fixtures.plugin.report as reporting
    reporting.ROOT = Path(__file__).parent
"""
TEST = """
import pytest
from fixtures.errors import CouldNotLook
from fixtures.evidence.record import CheckRecord
pytestmark = pytest.mark.audit("backup regime")
ADVICE = "incus storage volume show local x"

def check(outcome):
    return CheckRecord(name="schedule", outcome=outcome, detail="is @never", advice=ADVICE)

def test_regime(audit):
    if audit.subject == "loki":
        raise CouldNotLook("volume loki01-data: gone", hint="look for it")
    if audit.subject == "grafana":
        raise RuntimeError("a defect")
    if audit.subject != "mosquitto":
        audit.take([check("broken" if audit.subject == "step-ca" else "held")])
"""


@pytest.fixture
def audited(tmp_path):
    """Runs the audits of the house's fleet in a pytest of its own: (status, evidence, text)."""

    def run(*options):
        drills = tmp_path / "drills"
        drills.mkdir(exist_ok=True)
        (tmp_path / "conftest.py").write_text(CONFTEST)
        (drills / "test_audit.py").write_text(TEST)
        argv = [sys.executable, "-m", "pytest", "drills", f"--rootdir={tmp_path}"]
        argv += ["-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
        argv += [f"--reports={tmp_path}/reports", *options]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        (evidence,) = (tmp_path / "reports").glob("*/evidence.json")
        return done.returncode, json.loads(evidence.read_text()), done.stdout + done.stderr

    return run


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_every_audit_is_judged_and_recorded(audited, workers, tmp_path):
    status, evidence, text = audited(*workers)
    assert status == pytest.ExitCode.TESTS_FAILED
    seen = {audit["subject"]: audit for audit in evidence["audits"]}
    fleet = ["grafana", "prometheus", "loki", "step-ca", "alertmanager", "mosquitto", "atlantis"]
    assert sorted(seen) == sorted([*fleet, "atlas-terraform-state"])
    assert seen["loki"]["reason"] == "volume loki01-data: gone\nHINT: look for it"
    assert "RuntimeError" in seen["grafana"]["trace"]
    assert seen["mosquitto"]["checks"] == []
    assert seen["prometheus"]["id"] == "prometheus-backup-regime"
    for told in (
        "  ✕ step-ca, backup regime: findings",
        "  ? loki, backup regime: not verified",
        "  ? mosquitto, backup regime: not verified",
        "  ✓ prometheus, backup regime: in order",
        "verdict of the audit: findings",
    ):
        assert told in text
    history = tmp_path / "reports" / "history.jsonl"
    assert len(history.read_text().splitlines()) == len(seen)


def test_audits_in_order_end_well_and_claim_no_recovery(audited, tmp_path):
    status, evidence, text = audited("-k", "prometheus or alertmanager")
    assert status == pytest.ExitCode.OK
    assert evidence["drills"] == []
    assert "No drill was made: this run proves no recovery." in text
    assert "verdict of the audit: in order" in text
    (page,) = (tmp_path / "reports").glob("*/report.html")
    assert "audit: in order" in page.read_text()
