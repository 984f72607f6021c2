"""Audits as evidence: how they are judged and reported, and that they prove no recovery."""

import pytest

from fixtures.evidence.html import render_summary, table_cells
from fixtures.evidence.judge import judge_audit, judge_audits, judge_run
from fixtures.evidence.record import AuditRecord, AuditVerdict, CheckRecord, Verdict
from fixtures.evidence.wording import audit_sentence, findings, why_not_in_order
from fixtures.evidence.writer import append_history, read_evidence, read_lines, write_evidence
from fixtures.plugin.terminal import WIDTH, summary_lines
from tests.report.test_html import words
from tests.unit.test_evidence_judge import BEGUN, HELD, UNSEEN, drill, run
from tests.unit.test_evidence_openmetrics import labels, parsed

FOUND = CheckRecord(
    name="newest snapshot",
    outcome="broken",
    detail="9 days old <b>",
    advice="incus snapshot this\nand that",
    where="line 17",
)
FACTS = {"id": "a", "subject": "step-ca", "topic": "backup regime", "begun": BEGUN, "seconds": 0.5}


def audit(**changed):
    """An audit that is in order, except for what is changed."""
    return AuditRecord(**{**FACTS, "checks": [HELD], **changed})


def audited(*audits, **changed):
    """A run of audits alone."""
    return run(drills=[], audits=list(audits), **changed)


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
    assert judge_run(audited(SOUND)) is Verdict.NOT_VERIFIED
    assert judge_run(run(audits=[SOUND])) is Verdict.RECOVERED
    assert judge_run(run(audits=[SOUND, BAD])) is Verdict.NOT_VERIFIED
    wrong = drill(verdict=Verdict.WRONG_DATA)
    assert judge_run(run(drills=[wrong], audits=[SOUND])) is Verdict.WRONG_DATA


@pytest.mark.parametrize("fault", [{"errors": ["cut"]}, {"interrupted": True}, {"finished": None}])
def test_a_fault_of_the_run_leaves_no_audit_in_order(fault):
    assert judge_audits(audited(SOUND)) is AuditVerdict.IN_ORDER
    assert judge_audits(audited(SOUND, **fault)) is AuditVerdict.NOT_VERIFIED


def test_what_is_broken_comes_before_what_was_not_looked_at():
    rows = findings(run(audits=[BLIND, SOUND, BAD]))
    assert [row.check.outcome for row in rows] == ["broken", "not looked"]
    sentence = "3 audits: 1 finding in 1 of them; 1 promise not looked at."
    assert audit_sentence(run(audits=[BLIND, SOUND, BAD])) == sentence
    assert audit_sentence(run(audits=[SOUND])) == "1 audit: 1 promise looked at, all in order."


def test_a_failed_test_says_what_is_wrong_and_what_to_do():
    assert why_not_in_order(audit(checks=[FOUND], reason="no project atlas")) == (
        "step-ca, backup regime: findings\n"
        "- line 17: newest snapshot (broken): 9 days old <b>\n"
        "  HINT: incus snapshot this\n"
        "  and that\n"
        "- the audit (not looked): no project atlas"
    )


def test_the_terminal_shows_findings_and_that_nothing_was_recovered():
    lines = summary_lines(audited(SOUND, BAD))
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
    first, second, *others = summary_lines(run(audits=[SOUND, BAD]))
    assert first == "verdict of the run: not verified"
    assert second == "The only drill recovered within target, but 1 of 2 audits not in order."
    assert not any("in order" in line for line in others[2:]), "next to drills, only what is wrong"


SURVIVORS = [
    {"loss": "volume", "outcome": "held", "kind": "snapshot", "name": "s<1>", "taken_at": BEGUN}
    | {"age": 86400, "allowed": 172800, "lies": "in its pool"},
    {"loss": "pool", "outcome": "broken", "kind": "tarball", "name": "t", "taken_at": BEGUN}
    | {"age": 777600, "allowed": 691200, "lies": "on the server's machine"},
    {"loss": "machine", "outcome": "not looked", "allowed": 691200},
    {"loss": "site", "outcome": "held", "accepted": True},
]


def test_the_page_shows_findings_with_their_advice_and_what_survives():
    broken = audit(trace="Traceback <i>", reason="a defect", notes=["read by half"])
    html = render_summary(audited(audit(survivors=SURVIVORS), BAD, BLIND, broken))
    text = words(html)
    assert "Traceback &lt;i&gt;" in html and "a defect read by half" in text
    assert "No drill was made: this run proves no recovery." in text
    assert "nothing was restored, so it proves no recovery" in text
    assert "9 days old &lt;b&gt;" in html and "incus snapshot this" in text
    assert "v-recovered" not in html.partition("<h3>Benchmark</h3>")[0]
    assert "✕ findings step-ca backup regime, read in 0.50 s" in text
    table = words(html.partition('aria-label="What survives"')[2].partition("</table>")[0])
    assert "✓ survives 1 d of 2 d snapshot, in its pool" in table
    assert "✕ too old 9 d of 8 d tarball, on the server's machine" in table
    assert "? not looked 8 d allowed" in table and "loss accepted nothing survives it" in table
    assert 'title="s&lt;1&gt;, ' in html
    assert "What survives" not in render_summary(audited(audit()))
    assert 'id="audit"' not in render_summary(run())
    cells = [words(cell) for cell in table_cells(BAD)]
    assert cells == ["✕ audit: findings", "—", "—", "audit"], "an audit has no RTO"


def test_audits_and_survivors_have_metrics_of_their_own():
    record = audited(BAD.model_copy(update={"survivors": audit(survivors=SURVIVORS).survivors}))
    seen, place = parsed(record), ("backup-regime", "step-ca")
    assert (seen["dr_audit_findings", place], seen["dr_audit_not_looked", place]) == (1, 0)
    assert seen["dr_audit_verdict", labels(*place, "findings")] == 1
    assert seen["dr_audit_verdict", labels(*place, "in-order")] == 0
    assert not any(name == "dr_run_verdict" for name, _ in seen)
    alone = parsed(run(audits=[BAD]))
    assert any(name == "dr_run_verdict" for name, _ in alone)
    assert not any(name.startswith("dr_audit_") for name, _ in parsed(run()))

    def survivors(samples):
        return {
            (name.removeprefix("dr_survivor_"), (set(values) - {"step-ca"}).pop()): value
            for (name, values), value in samples.items()
            if name.startswith("dr_survivor_")
        }

    limits = {("allowed_seconds", loss): 691200.0 for loss in ("pool", "machine")}
    limits["allowed_seconds", "volume"] = 172800
    ages = {("age_seconds", "volume"): 86400.0, ("age_seconds", "pool"): 777600.0}
    taken = {("taken_timestamp_seconds", x): BEGUN.timestamp() for x in ("volume", "pool")}
    assert survivors(seen) == ages | limits | taken
    assert survivors(parsed(record.model_copy(update={"as_of": BEGUN}))) == limits


def test_audits_survive_the_file_and_stand_in_the_history(tmp_path):
    record = run(audits=[SOUND, BAD])
    assert read_evidence(write_evidence(record, tmp_path)) == record
    path, warnings = tmp_path / "history.jsonl", list[str]()
    append_history(record, path, "00")
    kinds = [type(line).__name__ for line in read_lines(path, warnings.append)]
    assert kinds == ["HistoryLine", "AuditLine", "AuditLine", "RunLine"] and warnings == []
    assert path.read_text().count('"topic": "backup regime", "verdict": "findings"') == 1
    assert '"begun": "2026-01-02T03:04:05+00:00"' in path.read_text(), "as older suites wrote it"
