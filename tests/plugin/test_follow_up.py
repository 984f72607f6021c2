"""A run reads the reviews of earlier ones: no Incus is contacted for it."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fixtures.evidence.review import REVIEW_FILE, ReviewText, add_entry
from fixtures.evidence.writer import write_evidence

ROOT = Path(__file__).parents[2]
WRITTEN = datetime(2026, 11, 24, tzinfo=UTC)


def run_audit(reports):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-o", "testpaths=drills", "-k", "follow_up"),
            *("-p", "no:cacheprovider", f"--reports={reports}"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ATLAS_DRILLS_RUNTIME": str(reports / "locks")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = sorted(reports.glob("2*/evidence.json"))
    return done.returncode, found[-1].parent, json.loads(found[-1].read_text())


@pytest.fixture
def reviewed(tmp_path, golden):
    """Reports with one run, whose repairs were due a day after they were decided."""
    run = golden.model_copy(update={"fleet": "atlas"})
    write_evidence(run, tmp_path / "earlier")
    fix = {"owner": "Ada Berg", "by": "2026-11-25", "what": "export it again"}
    text = ReviewText.model_validate({"actions": [{"items": ["*"], "fix": fix}]})
    add_entry(tmp_path / "earlier", run, text, user="root", now=WRITTEN)
    return tmp_path


def test_an_overdue_action_makes_the_run_red_and_stands_in_its_report(reviewed):
    status, directory, run = run_audit(reviewed)
    assert status == 1
    (audit,) = run["audits"]
    assert audit["topic"] == "follow-up"
    assert {check["outcome"] for check in audit["checks"]} == {"broken"}
    assert len(audit["checks"]) == len(run["open_actions"]) > 1
    page = (directory / "report.html").read_text()
    assert "Open actions" in page
    assert "overdue: export it again" in page
    assert run["incus"] is None


def test_a_review_that_was_changed_makes_it_red_too(reviewed):
    file = reviewed / "earlier" / REVIEW_FILE
    file.write_text(file.read_text().replace("2026-11-25", "2026-99-25"))
    status, _, run = run_audit(reviewed)
    assert status == 1
    assert "every review can be read" in {check["name"] for check in run["audits"][0]["checks"]}
    assert any("a review is left out" in warning for warning in run["warnings"])


def test_without_a_review_there_is_no_such_audit(tmp_path):
    status, _, run = run_audit(tmp_path)
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED
    assert (run["audits"], run["open_actions"]) == ([], [])
