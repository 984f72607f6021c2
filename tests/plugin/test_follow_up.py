"""A run reads the reviews of earlier ones: no Incus is contacted for it."""

from datetime import UTC, datetime

import pytest

from fixtures.evidence.review import REVIEW_FILE, ReviewText, add_entry
from fixtures.evidence.writer import write_evidence
from tests.plugin.conftest import evidence_of, run_pytest

WRITTEN = datetime(2026, 11, 24, tzinfo=UTC)


def run_audit(reports):
    return run_pytest("-k", "follow_up", f"--reports={reports}").returncode, evidence_of(reports)


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
    status, run = run_audit(reviewed)
    (audit,) = run["audits"]
    assert (status, audit["topic"], run["incus"]) == (1, "follow-up", None)
    assert {check["outcome"] for check in audit["checks"]} == {"broken"}
    assert len(audit["checks"]) == len(run["open_actions"]) > 1
    page = (reviewed / run["run"] / "report.html").read_text()
    assert "Open actions" in page and "overdue: export it again" in page


def test_a_review_that_was_changed_makes_it_red_too(reviewed):
    file = reviewed / "earlier" / REVIEW_FILE
    file.write_text(file.read_text().replace("2026-11-25", "2026-99-25"))
    status, run = run_audit(reviewed)
    assert status == 1
    assert "every review can be read" in {check["name"] for check in run["audits"][0]["checks"]}
    assert any("a review is left out" in warning for warning in run["warnings"])


def test_without_a_review_of_a_run_there_is_no_such_audit(reviewed):
    (reviewed / "earlier").rename(reviewed / "sample")
    status, run = run_audit(reviewed)
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED
    assert (run["audits"], run["open_actions"]) == ([], [])
