"""Facts of the golden run that its HTML must show, and what it must never show."""

from __future__ import annotations

import re
from html import unescape

from fixtures.evidence.html import render_drill, render_page, render_summary, table_cells
from fixtures.evidence.judge import judge_drill
from fixtures.evidence.record import CanaryRecord, DrillRecord, RunRecord
from fixtures.evidence.verdict import Verdict
from fixtures.evidence.wording import card, verdict_of


def words(html: str) -> str:
    """The text of a fragment, without tags, scripts and white space."""
    html = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_every_verdict_is_a_word(golden: RunRecord) -> None:
    assert {drill.verdict for drill in golden.drills} == set(Verdict)
    for drill in golden.drills:
        text = words(render_drill(drill))
        assert f" {verdict_of(drill)} " in text, drill.id
        assert verdict_of(drill).startswith(drill.verdict)
        assert drill.reason is None or drill.reason in text


def test_the_verdict_of_the_run_is_one_sentence(golden: RunRecord) -> None:
    assert (
        "1 of 6 drills recovered within target; 1 wrong data, 1 not recovered, 1 not verified, "
        "1 recovered late; 1 not verified: stand-in for Grafana, but the run itself had 2 faults."
    ) in words(render_summary(golden))


def test_every_reason_is_visible_outside_its_cell(golden: RunRecord) -> None:
    listed = words(render_summary(golden).partition("<h3>Not verified</h3>")[2])
    reasons = {cell.reason for cell in golden.not_verified}
    assert len(reasons) >= 4
    for reason in reasons:
        assert reason in listed


def test_an_unexplained_cell_is_a_defect_in_words(golden: RunRecord) -> None:
    assert "unexplained" not in render_summary(golden)
    run = golden.model_copy(update={"not_verified": []})
    assert "122 cells unexplained" in words(render_summary(run))


def test_a_leftover_comes_with_its_command(golden: RunRecord) -> None:
    text = words(render_summary(golden))
    assert "1 object left behind." in text
    assert golden.cleanup.command and golden.cleanup.command in text


def test_records_are_escaped(golden: RunRecord) -> None:
    page = render_page(golden)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_projection_is_called_one_and_only_of_a_recovery(golden: RunRecord) -> None:
    late, broken = golden.drills[1], golden.drills[2]
    assert late.restore and broken.restore
    assert broken.restore.projected_rto is not None
    assert "Projection, not measured" in words(render_drill(late))
    assert "Projection" not in words(render_drill(broken))


def test_a_failed_phase_is_said_in_words(golden: RunRecord) -> None:
    text = words(render_drill(golden.drills[2]))
    assert "healthy 36.4 s failed here" in text
    assert "verified not reached" in text
    assert "RTO — not measured; target 30 min" in text


def test_the_rto_of_no_recovery_is_a_dash(golden: RunRecord) -> None:
    wrong = golden.drills[3]
    assert wrong.rto is not None
    assert table_cells(wrong)[1] == '<td class="col-rto">—</td>'
    assert "RTO — 2.14 s on the clock, but wrong data" in words(render_drill(wrong))


def test_facts_overrule_the_recorded_verdict(golden: RunRecord) -> None:
    lie: DrillRecord = golden.drills[0].model_copy(
        update={"canaries": CanaryRecord(written=["a"], lost=["a"])}
    )
    assert lie.verdict is Verdict.RECOVERED
    assert (
        "recorded as recovered, but the facts say wrong data: lost: a; no canary was recovered"
    ) in words(render_drill(lie))


def test_a_run_that_did_nothing_renders(golden: RunRecord) -> None:
    nothing = golden.model_copy(
        update={
            "drills": [],
            "benchmark": [],
            "incus": None,
            "source": None,
            "finished": None,
            "services": [],
            "scenarios": [],
            "not_verified": [],
        }
    )
    text = words(render_summary(nothing))
    assert "? not verified No drill was made: this run proves nothing." in text
    assert "was not reached" in text


def test_rehearsals_alone_are_said_to_prove_no_backup(golden: RunRecord) -> None:
    note = "the procedure is proven, no existing backup is"
    only = [drill for drill in golden.drills if drill.origin == "rehearsal"]
    assert note in words(render_summary(golden.model_copy(update={"drills": only})))
    assert note not in words(render_summary(golden))


def test_what_was_not_looked_at_stands_on_the_card(golden: RunRecord) -> None:
    drill = golden.drills[0]
    assert "Not looked at" not in words(render_drill(drill)), "evidence from before has none"
    gap = "Loki: only <lines> of its last hour were counted"
    drill = drill.model_copy(update={"not_looked_at": [gap]})
    assert f"Not looked at {gap}" in words(render_drill(drill))
    assert card(drill)["u"] == [gap]
    assert judge_drill(drill) is judge_drill(golden.drills[0])
