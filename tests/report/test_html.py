"""Facts of a run that its HTML must show, and what it must never show."""

import re
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

from fixtures.evidence.html import main, render_page, render_summary, table_cells
from fixtures.evidence.judge import judge_drill
from fixtures.evidence.openmetrics import metrics
from fixtures.evidence.record import (
    BackupRecord,
    CanaryRecord,
    MemberRecord,
    RestoreRecord,
    Verdict,
)
from fixtures.evidence.writer import history_lines
from tests.unit.test_evidence_judge import BEGUN, DAY, NO_PACKAGE, SKIPPED, drill, run

EVIDENCE = Path(__file__).parent / "evidence-v1.json"
MEMBERS = [
    MemberRecord(service="grafana", healthy=6.0, verified=12.0),
    MemberRecord(service="step-ca", healthy=3.0, verified=9.0),
    MemberRecord(service="loki", fault="loki never became healthy <b>"),
]


def words(html):
    """Return the text of a fragment, without tags, scripts and white space."""
    html = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def said(run, **changed):
    """The text of the page of a run."""
    return words(render_summary(run.model_copy(update=changed)))


def render_drill(drill):
    """Return the card of a drill in the page of its run."""
    page = render_summary(run(drills=[drill]))
    return page.partition(f'id="drill-{drill.id}">')[2].partition("</article>")[0]


def test_verdicts_reasons_and_leftovers_are_in_words(golden):
    assert {drill.verdict for drill in golden.drills} == set(Verdict)
    for made in golden.drills:
        text = words(render_drill(made))
        assert f" {made.verdict} " in text, made.id
        assert made.reason is None or made.reason in text
    text = said(golden)
    assert (
        "1 of 6 drills recovered within target; 1 wrong data, 1 not recovered, 2 not verified, "
        "1 recovered late, but the run itself had 2 faults."
    ) in text
    assert "1 object left behind." in text
    assert golden.cleanup.command and golden.cleanup.command in text
    listed = text.rpartition("Not verified ")[2]
    reasons = {cell.reason for cell in golden.not_verified}
    assert len(reasons) >= 4 and all(reason in listed for reason in reasons)
    page = render_page(golden)
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_gaps_have_a_band_of_their_own_with_services_and_reason():
    html, skipped = (
        render_summary(run(skipped=[SKIPPED])),
        f"grafana (9 drills skipped): {NO_PACKAGE}",
    )
    hero = html.partition("<section")[2].partition("</section>")[0]
    assert "v-gaps" in hero and skipped in words(hero)
    only = "recovered, with gaps: grafana The only drill that could be made recovered"
    assert only in words(hero)
    wrong = render_summary(run(drills=[drill(verdict=Verdict.WRONG_DATA)], skipped=[SKIPPED]))
    assert "v-gaps" not in wrong and skipped in words(wrong)
    assert "could not be had" not in render_summary(run())


def test_an_unexplained_cell_is_a_defect_and_what_is_not_promised_is_counted(golden):
    assert "unexplained" not in said(golden)
    assert "122 cells unexplained" in said(golden, not_verified=[])
    cells = [
        cell.model_copy(update={"promised": cell.scenario != "native"})
        for cell in golden.not_verified
    ]
    text = said(golden, not_verified=cells)
    left_out = "Columns left out, since no service is promised them: native, rehearsal; native,"
    assert left_out in text
    assert "For 16 further cells of service by scenario by origin" in text


SAID_ON_CARDS = [
    (0, [], ["Not looked at", "Not brought back"]),
    (1, ["Projection, not measured"], []),
    (2, ["healthy 36.4 s failed here", "verified not reached"], ["Projection"]),
    (2, ["RTO — not measured; target 30 min"], []),
    (3, ["RTO — 2.14 s on the clock, but wrong data"], []),
    (4, ["? not verified a stand-in was drilled, not the real service"], []),
]


@pytest.mark.parametrize(("number", "said", "not_said"), SAID_ON_CARDS)
def test_a_card_shows_what_the_drill_proves(golden, number, said, not_said):
    text = words(render_drill(golden.drills[number]))
    assert [part for part in said if part not in text] == []
    assert [part for part in not_said if part in text] == []


def test_the_rto_of_no_recovery_is_a_dash_in_the_list_of_tests(golden):
    recovered, wrong = golden.drills[0], golden.drills[3]
    assert [words(cell) for cell in table_cells(wrong)[:2]] == ["≠ wrong data", "—"]
    cells = table_cells(recovered)
    assert [words(cell) for cell in cells] == ["✓ recovered", "2.14 s", "15 min", "drill"]
    assert 'href="#drill-step-ca-snapshot-rehearsal"' in cells[3]
    assert [words(cell) for cell in table_cells(None)] == ["—"] * 4


def test_facts_overrule_the_recorded_verdict(golden):
    lost = {"canaries": CanaryRecord(written=["a"], lost=["a"])}
    lie = "recorded as recovered, but the facts say"
    text = words(render_drill(golden.drills[0].model_copy(update=lost)))
    assert f"{lie} wrong data: lost: a; no canary was recovered" in text
    imitation = golden.drills[4].model_copy(update={"verdict": Verdict.RECOVERED})
    text = words(render_drill(imitation))
    assert f"{lie} not verified: a stand-in was drilled, not the real service" in text


def test_a_run_that_did_nothing_renders_and_rehearsals_alone_prove_no_backup(golden):
    nothing = {"incus": None, "source": None, "finished": None}
    empty = ("drills", "benchmark", "services", "scenarios", "not_verified")
    text = said(golden, **nothing, **{name: [] for name in empty})
    assert "? not verified No drill was made: this run proves nothing." in text
    assert "was not reached" in text
    note = "the procedure is proven, no existing backup is"
    only = [drill for drill in golden.drills if drill.origin == "rehearsal"]
    assert note in said(golden, drills=only) and note not in said(golden)
    assert "Existing backups If the source" not in said(golden, drills=only)


def test_what_was_not_looked_at_stands_on_the_card_and_is_no_fault():
    blind = drill(not_looked_at=["Loki: only <lines> of its last hour were counted"])
    assert "Not looked at Loki: only <lines> of its" in words(render_drill(blind))
    assert judge_drill(blind) is Verdict.RECOVERED


def existing(**facts):
    return drill(id="loki-snapshot-existing", service="loki", origin="existing", **facts)


def test_existing_backups_have_a_table_of_what_would_be_lost(golden):
    note = "the note next to the backup"
    found = existing(rpo=1.5 * DAY, target_rpo=1.1 * DAY, compared_with=note)
    text = said(golden, drills=[*golden.drills, found])
    assert "Existing backups If the source burned now" in text
    assert "1 d 12 h of 1 d 2 h" in text
    assert "! recovered late compared with the note next to the backup" in text
    assert "age of its data; the schedule allows 1 d 2 h" in words(render_drill(found))


def test_with_as_of_no_age_of_now_is_reported(golden):
    now = golden.model_copy(update={"drills": [*golden.drills, existing(rpo=7200.0)]})
    assert 'dr_drill_rpo_seconds{origin="existing"' in metrics(now)
    assert history_lines(now)[-1].rpo == 7200.0
    then = now.model_copy(update={"as_of": datetime(2026, 1, 10, tzinfo=UTC)})
    assert 'dr_drill_rpo_seconds{origin="existing"' not in metrics(then)
    assert 'dr_drill_rpo_seconds{origin="rehearsal"' in metrics(then)
    assert history_lines(then)[-1].rpo is None
    text = words(render_summary(then))
    assert "as of 2026-01-10 00:00 UTC (--as-of), not as of this run" in text
    assert "If the source had burned at" in text
    assert "burned now" not in text


def test_every_link_leads_to_one_card_and_variants_are_counted(golden):
    tarball = {"service": "prometheus", "scenario": "tarball"}
    variants = [drill(id=f"prometheus-{name}", variant=name, **tarball) for name in ("a", "b")]
    drills = [*golden.drills, *variants]
    html = render_summary(golden.model_copy(update={"drills": drills}))
    targets = re.findall(r'id="(drill-[^"]+)"', html)
    assert len(targets) == len(set(targets)) == len(drills)
    assert set(re.findall(r'href="#([^"]+)"', html)) == set(targets)
    assert (
        "! recovered late 3 variants as the fleet file says recovered late a recovered b recovered"
    ) in words(html)


def test_losses_are_folded_and_whole():
    lost = [f"lost: token {number} <b>" for number in range(12)]
    shown, _, folded = render_drill(drill(losses=lost)).partition("... and 4 more</summary>")
    assert "Not brought back 12 items" in words(shown)
    assert all(f"<li>lost: token {number} &lt;b&gt;</li>" in shown for number in range(8))
    assert all(f"<li>lost: token {number} &lt;b&gt;</li>" in folded for number in range(8, 12))
    assert "more</summary>" not in render_drill(drill(losses=lost[:9])), "one more is not folded"
    assert "Not brought back" not in render_drill(drill())


def test_members_of_a_fleet_stand_on_one_clock_in_the_order_of_their_health():
    html = render_drill(drill(rto=12.0, members=MEMBERS))
    text = words(html)
    assert "from the loss, 12 s in all" in text
    assert "step-ca 3 s 9 s grafana 6 s 12 s loki — — loki never became" in text
    widths = ["25.00", "50.00", "50.00", "50.00", "0.00", "0.00"]
    assert re.findall(r"width:([\d.]+)%", html) == widths
    assert "healthy &lt;b&gt;" in html


def test_facts_of_a_backup_that_are_not_known_are_left_out():
    plain = BackupRecord(kind="tarball", name="loki", taken_at=BEGUN, seconds=3.0)
    text = words(render_drill(drill(backup=plain)))
    assert "Kind tarball Name loki Taken 2 Jan 2026, 03:04 UTC Made in 3 s" in text
    assert "Encryption" not in text
    sealed = plain.model_copy(update={"encrypted": True, "encryption": "AES256"})
    assert "Encryption AES256" in words(render_drill(drill(backup=sealed)))
    older = plain.model_copy(update={"integrity": "encrypted: AES256; read to the last byte"})
    assert "Integrity encrypted: AES256; read to" in words(render_drill(drill(backup=older)))


BARE = BackupRecord(kind="tarball", name="x", taken_at=BEGUN, seconds=1.0)
FULL = {"downtime": 1.0, "file_bytes": 1, "sha256": "a", "compression": "zstd", "optimized": True}
MOVED = RestoreRecord(bytes=1, seconds=1.0, throughput=1.0, projected_rto=3.0, declared_bytes=9)


@pytest.mark.parametrize("origin", ["rehearsal", "existing"])
@pytest.mark.parametrize("restore", [None, MOVED, MOVED.model_copy(update={"throughput": None})])
@pytest.mark.parametrize(
    "backup", [None, BARE, *(BARE.model_copy(update=x) for x in (FULL, {"kind": "none"}))]
)
def test_what_may_be_missing_in_a_record_may_be_missing_on_its_card(origin, restore, backup):
    made = drill(origin=origin, backup=backup, restore=restore)
    assert "Where and when Drill begun" in words(render_drill(made))
    empty = made.model_copy(update={"phases": [], "checks": [], "canaries": None, "rto": None})
    text = words(render_drill(empty))
    for missing in ("No phase was recorded", "No check was made", "No canary was looked for"):
        assert missing in text


@pytest.mark.parametrize(("old", "new"), [('"target_rto":', '"target":'), ("}", "")])
def test_of_damaged_evidence_there_is_no_page_but_a_sentence(tmp_path, capfd, old, new):
    evidence = tmp_path / "evidence.json"
    evidence.write_text(EVIDENCE.read_text().replace(old, new))
    assert main([str(evidence)]) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("no page: ")
    assert str(evidence) in said.err
    assert "Traceback" not in said.err
