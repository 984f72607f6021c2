"""The audit of open actions, seen red where a date is over or a review was tampered with."""

from datetime import UTC, datetime, timedelta

import pytest

import drills.test_follow_up as follow_up_drill
from fixtures.audit.audit import Audit
from fixtures.evidence.record import AuditVerdict
from fixtures.evidence.review import REVIEW_FILE, ReviewText, add_entry, open_actions
from fixtures.evidence.writer import write_evidence
from fixtures.plugin.audits import FollowUp

WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)
DUE = WRITTEN.date() + timedelta(days=30)


@pytest.fixture
def reports(tmp_path, golden):
    """A run with a review, in which all that is no pass is to be repaired within 30 days."""
    directory = tmp_path / "one"
    write_evidence(golden, directory)
    fix = {"owner": "Ada Berg", "by": DUE, "what": "export it again"}
    text = ReviewText.model_validate({"actions": [{"items": ["*"], "fix": fix}]})
    add_entry(directory, golden, text, user="root", now=WRITTEN)
    return tmp_path


def audited(reports, today):
    """The record of the drill, made on a day."""
    unread = []
    audit = Audit("fleet", "follow-up")
    actions = open_actions(reports, "fleets/atlas.yaml", unread.append)
    follow_up_drill.test_no_open_action_is_overdue(audit, FollowUp(actions, unread, today))
    return audit


def test_an_action_is_a_finding_the_day_after_its_last(reports):
    audit = audited(reports, DUE)
    assert audit.verdict is AuditVerdict.IN_ORDER
    assert len(audit.checks) > 1
    audit = audited(reports, DUE + timedelta(days=1))
    assert audit.verdict is AuditVerdict.FINDINGS
    assert {check.outcome for check in audit.checks} == {"broken"}
    assert "overdue: export it again (Ada Berg; " in audit.checks[0].detail


def test_an_edited_review_is_a_finding(reports):
    file = reports / "one" / REVIEW_FILE
    file.write_bytes(file.read_bytes().replace(b'"evidence_sha256": "', b'"evidence_sha256": "0'))
    audit = audited(reports, DUE)
    assert audit.verdict is AuditVerdict.FINDINGS
    assert "line 1 speaks of other evidence" in audit.checks[0].detail
