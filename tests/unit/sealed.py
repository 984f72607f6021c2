"""Directories of reports as runs leave them, without a run: what `./run verify` reads."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fixtures.evidence.html import PAGE_FILE, render_page, renderer
from fixtures.evidence.openmetrics import METRICS_FILE, metrics
from fixtures.evidence.record import TextRecord
from fixtures.evidence.seal import SEAL_FILE, Signer, sha256_of, statement_of
from fixtures.evidence.writer import HISTORY_FILE, append_history, write_evidence
from tests.unit.test_evidence_judge import drill, run

BEGUN = datetime(2026, 1, 1, 4, tzinfo=UTC)
FLEET = TextRecord.of("atlas.yaml", b"name: atlas\n")
RUNBOOK = TextRecord.of("runbook.md", b"# Restore <it>\r\n")


def new_key(path: Path) -> Path:
    """A private key beside its public one (.pub), made by openssl as the docs say."""
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True)
    path.chmod(0o600)
    public = path.with_suffix(".pub")
    subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-out", public], check=True)
    return path


def record(number=0, signer=None, **changed):
    """A run of evidence version 2, with two drills; a day after the one before it."""
    begun = BEGUN + timedelta(days=number)
    about = {
        "run": f"{begun:%Y%m%d-%H%M%S}-{number:06x}",
        "begun": begun,
        "finished": begun + timedelta(minutes=3),
        "promised": {"step-ca": {"snapshot": ["rehearsal"]}},
        "not_verified": [],
        "exercise": "functional",
        "suite": {"commit": "c0ffee" * 6 + "c0ff", "changed": [], "lock_sha256": "11" * 32}
        | {"renderer": renderer()},
        "machine": {"cores": 2, "memory_bytes": 1 << 34, "architecture": "x86_64", "kernel": "6.1"}
        | {"python": "3.11.2", "clock": {"synchronised": True, "max_error": 0.02}},
        "targets": {"snapshot": {"title": "Snapshot", "seconds": 900, "source": "assumed"}},
        "drill_projects": [{"name": "drill-1", "config": {"restricted": "true"}}],
        "fleet_file": FLEET,
        "fleet_sha256": FLEET.sha256,
        "runbook_file": RUNBOOK,
        "seal": signer.public if signer else None,
        "drills": [drill(begun=begun), drill(id="again", variant="again", begun=begun, rto=6.5)],
        "drills_made": 2,
    }
    return run(**about | changed)


def write_run(reports, made, signer=None):
    """Leave what a run leaves; returns its directory."""
    directory = reports / made.run
    evidence = write_evidence(made, directory)
    (directory / METRICS_FILE).write_text(metrics(made))
    (directory / PAGE_FILE).write_text(render_page(made))
    (directory / "junit.xml").write_text("<testsuites/>")
    chain = append_history(made, reports / HISTORY_FILE, sha256_of(evidence))
    if signer is not None:
        signer.sign(statement_of(made, directory, chain), directory / SEAL_FILE)
    return directory


def write_runs(reports, number, signer=None):
    """Leave as many runs, one a day; returns their directories."""
    return [write_run(reports, record(i, signer), signer) for i in range(number)]


def signer_of(key):
    return Signer(key.read_bytes())
