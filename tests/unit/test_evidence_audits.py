"""Audits as evidence: how they are judged and reported, and that they prove no recovery."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fixtures.evidence.html import render_summary, table_cells
from fixtures.evidence.judge import judge_audit, judge_audits, judge_run
from fixtures.evidence.openmetrics import metrics
from fixtures.evidence.record import AuditRecord, AuditVerdict, CheckRecord, Verdict
from fixtures.evidence.wording import audit_sentence, findings, why_not_in_order
from fixtures.evidence.writer import append_history, read_evidence, read_history, write_evidence
from fixtures.plugin.terminal import WIDTH, summary_lines
from tests.report.test_html import words
from tests.unit.test_evidence_judge import BEGUN, HELD, UNSEEN, drill, run

FOUND = CheckRecord(
    name="newest snapshot",
    outcome="broken",
    detail="9 days old <b>",
    advice="incus snapshot this\nand that",
    where="line 17",
)


def audit(**changed):
    """An audit that is in order, except for what is changed."""
    return AuditRecord(
        **{
            "id": "step-ca-backup-regime",
            "subject": "step-ca",
            "topic": "backup regime",
            "begun": BEGUN,
            "seconds": 0.5,
            "checks": [HELD],
            **changed,
        }
    )


SOUND, BAD, BLIND = audit(), audit(checks=[HELD, FOUND]), audit(checks=[HELD, UNSEEN])


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (SOUND, AuditVerdict.IN_ORDER),
        (BAD, AuditVerdict.FINDINGS),
        (BLIND, AuditVerdict.NOT_VERIFIED),
        (audit(checks=[FOUND, UNSEEN], reason="cut"), AuditVerdict.FINDINGS),
        (audit(checks=[]), AuditVerdict.NOT_VERIFIED),
        (audit(reason="no such project"), AuditVerdict.NOT_VERIFIED),
        (audit(trace="Traceback"), AuditVerdict.NOT_VERIFIED),
    ],
)
def test_an_audit_is_judged_by_what_was_seen(record, verdict):
    assert judge_audit(record) is verdict
    assert bool(findings(run(audits=[record]))) is not verdict.is_pass


def test_audits_never_make_a_run_better():
    assert judge_run(run(drills=[], audits=[SOUND])) is Verdict.NOT_VERIFIED
    assert judge_run(run(audits=[SOUND])) is Verdict.RECOVERED
    assert judge_run(run(audits=[SOUND, BAD])) is Verdict.NOT_VERIFIED
    wrong = drill(verdict=Verdict.WRONG_DATA)
    assert judge_run(run(drills=[wrong], audits=[SOUND])) is Verdict.WRONG_DATA


@pytest.mark.parametrize("fault", [{"errors": ["cut"]}, {"interrupted": True}, {"finished": None}])
def test_a_fault_of_the_run_leaves_no_audit_in_order(fault):
    assert judge_audits(run(drills=[], audits=[SOUND])) is AuditVerdict.IN_ORDER
    assert judge_audits(run(drills=[], audits=[SOUND], **fault)) is AuditVerdict.NOT_VERIFIED


def test_what_is_broken_comes_before_what_was_not_looked_at():
    rows = findings(run(audits=[BLIND, SOUND, BAD]))
    assert [row.check.outcome for row in rows] == ["broken", "not looked"]
    assert audit_sentence(run(audits=[BLIND, SOUND, BAD])) == (
        "3 audits: 1 finding in 1 of them; 1 promise not looked at."
    )
    assert audit_sentence(run(audits=[SOUND])) == "1 audit: 1 promise looked at, all in order."
    assert audit_sentence(run()) == ""


def test_a_failed_test_says_what_is_wrong_and_what_to_do():
    assert why_not_in_order(audit(checks=[FOUND], reason="no project atlas")) == (
        "step-ca, backup regime: findings\n"
        "- line 17: newest snapshot (broken): 9 days old <b>\n"
        "  HINT: incus snapshot this\n"
        "  and that\n"
        "- the audit (not looked): no project atlas"
    )


def test_the_terminal_shows_findings_and_that_nothing_was_recovered():
    lines = summary_lines(run(drills=[], audits=[SOUND, BAD]))
    assert lines == [
        "verdict of the audit: findings",
        "2 audits: 1 finding in 1 of them. No drill was made: this run proves no recovery.",
        "audit (an audit reads and compares: it proves no recovery):",
        "  ✓ step-ca, backup regime: in order",
        "  ✕ step-ca, backup regime: findings",
        "      line 17: newest snapshot: 9 days old <b>",
        "        incus snapshot this",
        "        and that",
    ]
    assert max(map(len, lines)) <= WIDTH
    both = summary_lines(run(audits=[SOUND, BAD]))
    assert both[:2] == [
        "verdict of the run: not verified",
        "The only drill recovered within target, but 1 of 2 audits not in order.",
    ]
    assert not any("in order" in line for line in both[4:]), "next to drills, only what is wrong"


def test_the_page_shows_findings_with_their_advice():
    broken = audit(trace="Traceback <i>", reason="a defect", notes=["read by half"])
    html = render_summary(run(drills=[], audits=[SOUND, BAD, BLIND, broken]))
    text = words(html)
    assert "Traceback &lt;i&gt;" in html and "a defect read by half" in text
    assert "audit: findings" in text
    assert "No drill was made: this run proves no recovery." in text
    assert "nothing was restored, so it proves no recovery" in text
    assert "9 days old &lt;b&gt;" in html
    assert "incus snapshot this" in text
    assert "v-recovered" not in html.partition("<h3>Benchmark</h3>")[0]
    assert 'id="audit"' not in render_summary(run())
    cells = [words(cell) for cell in table_cells(BAD)]
    assert cells == ["✕ audit: findings", "—", "—", "audit"], "an audit has no RTO"
    assert "✕ findings step-ca backup regime, read in 0.50 s" in text


def test_audits_have_metrics_of_their_own():
    def samples(record):
        return {
            f"{sample.name}{sorted(sample.labels.values())}": sample.value
            for family in text_string_to_metric_families(metrics(record))
            for sample in family.samples
        }

    seen = samples(run(drills=[], audits=[BAD]))
    place = "['backup-regime', 'step-ca']"
    assert seen[f"dr_audit_findings{place}"] == 1
    assert seen[f"dr_audit_not_looked{place}"] == 0
    assert seen["dr_audit_verdict['backup-regime', 'findings', 'step-ca']"] == 1
    assert seen["dr_audit_verdict['backup-regime', 'in-order', 'step-ca']"] == 0
    assert not any(name.startswith("dr_run_verdict") for name in seen)
    assert not any(name.startswith("dr_audit_") for name in samples(run()))
    assert any(name.startswith("dr_run_verdict") for name in samples(run(audits=[BAD])))


def test_audits_survive_the_file_and_stand_in_the_history(tmp_path):
    record = run(audits=[SOUND, BAD])
    assert read_evidence(write_evidence(record, tmp_path)) == record
    path = tmp_path / "history.jsonl"
    append_history(record, path, "00")
    append_history(run(drills=[], audits=[SOUND]), path, "00")
    warnings = []
    assert [line.service for line in read_history(path, warnings.append)] == ["step-ca"]
    assert warnings == []
    assert path.read_text().count('"topic": "backup regime", "verdict": "findings"') == 1


SURVIVORS = [
    {"loss": "volume", "outcome": "held", "kind": "snapshot", "name": "s<1>", "taken_at": BEGUN}
    | {"age": 86400, "allowed": 172800, "lies": "in its pool"},
    {"loss": "pool", "outcome": "broken", "kind": "tarball", "name": "t", "taken_at": BEGUN}
    | {"age": 777600, "allowed": 691200, "lies": "on the server's machine"},
    {"loss": "machine", "outcome": "not looked", "allowed": 691200},
    {"loss": "site", "outcome": "held", "accepted": True},
]


def test_the_page_shows_what_survives():
    html = render_summary(run(drills=[], audits=[audit(survivors=SURVIVORS), audit()]))
    table = words(html.partition('aria-label="What survives"')[2].partition("</table>")[0])
    assert "✓ survives 1 d of 2 d snapshot, in its pool" in table
    assert "✕ too old 9 d of 8 d tarball, on the server's machine" in table
    assert "? not looked 8 d allowed" in table
    assert "loss accepted nothing survives it" in table
    assert 'title="s&lt;1&gt;, ' in html
    assert "What survives" not in render_summary(run(drills=[], audits=[audit()]))


def test_what_survives_has_metrics():
    def samples(record):
        return {
            (sample.name.removeprefix("dr_survivor_"), sample.labels["loss"]): sample.value
            for family in text_string_to_metric_families(metrics(record))
            for sample in family.samples
            if sample.name.startswith("dr_survivor_")
        }

    record = run(drills=[], audits=[audit(survivors=SURVIVORS)])
    found = [row for row in record.audits[0].survivors if row.taken_at]
    limits = {("allowed_seconds", loss): 691200.0 for loss in ("pool", "machine")}
    limits["allowed_seconds", "volume"] = 172800
    ages = {("age_seconds", "volume"): 86400.0, ("age_seconds", "pool"): 777600.0}
    taken = {("taken_timestamp_seconds", row.loss): row.taken_at.timestamp() for row in found}
    assert samples(record) == ages | limits | taken
    assert samples(record.model_copy(update={"as_of": BEGUN})) == limits
