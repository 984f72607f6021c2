"""What the page shows of rebuilds, kinds of tarball, several ways and stand-ins."""

from __future__ import annotations

import re

import pytest

from fixtures.evidence.html import render_drill, render_summary
from fixtures.evidence.record import DrillRecord, MemberRecord, RunRecord
from fixtures.evidence.runbook_table import benchmark_rows
from fixtures.evidence.verdict import Verdict
from tests.report.test_html import words
from tests.unit.test_evidence_judge import drill
from tests.unit.test_evidence_kinds import of_kind

MEMBERS = [
    MemberRecord(service="grafana", healthy=6.0, verified=12.0, stand_in=True),
    MemberRecord(service="step-ca", healthy=3.0, verified=9.0),
    MemberRecord(service="loki", fault="loki never became healthy <b>"),
]


@pytest.fixture
def scenarios(golden: RunRecord) -> RunRecord:
    """The golden run with the drills of tarballs, a rebuild and a full rebuild in it."""
    rebuilt = drill(
        id="step-ca-rebuild-rehearsal",
        scenario="rebuild",
        losses=[f"lost: token {number}" for number in range(12)],
    )
    fleet = drill(
        id="fleet-full-rebuild-rehearsal",
        service="fleet",
        scenario="full-rebuild",
        rto=12.0,
        stand_in=True,
        verdict=Verdict.NOT_VERIFIED,
        members=MEMBERS[:2],
        losses=["grafana: lost: folder a", "step-ca: replaced: root: was 1, is 2"],
    )
    kinds = [of_kind("gzip", 2.0), of_kind("zstd", 1.0, chosen=True), of_kind("new-volume", 1.0)]
    return golden.model_copy(update={"drills": [*golden.drills, rebuilt, fleet, *kinds]})


def test_every_link_leads_to_one_card(scenarios: RunRecord) -> None:
    html = render_summary(scenarios)
    targets = re.findall(r'id="(drill-[^"]+)"', html)
    links = set(re.findall(r'href="#([^"]+)"', html))
    assert len(targets) == len(set(targets)) == len(scenarios.drills)
    assert links == set(targets)


def test_several_ways_of_a_cell_are_counted_and_listed(scenarios: RunRecord) -> None:
    text = words(render_summary(scenarios))
    assert (
        "! recovered late 4 ways as the fleet file says recovered late gzip recovered "
        "zstd recovered new-volume recovered"
    ) in text


def test_stand_ins_are_told_in_sentence_cell_and_card(scenarios: RunRecord) -> None:
    text = words(render_summary(scenarios))
    assert "; 2 not verified: stand-in for Grafana, but" in text
    assert (
        "full-rebuild · rehearsal · critical · stand-ins: grafana ? not verified: stand-in" in text
    )


def test_the_benchmark_marks_what_it_counts(scenarios: RunRecord) -> None:
    rows = benchmark_rows(scenarios, [], {"full-rebuild": ("Full rebuild", 1800.0)})
    text = words(render_summary(scenarios.model_copy(update={"benchmark": rows})))
    assert "12 s fleet (incl. stand-ins: grafana) ? not verified: stand-in" in text


def test_losses_are_capped_and_whole(scenarios: RunRecord) -> None:
    rebuilt = next(one for one in scenarios.drills if one.scenario == "rebuild")
    html = render_drill(rebuilt)
    shown, _, folded = html.partition("<summary>... and 4 more</summary>")
    assert "Not brought back by this way to recover: 12 lost." in words(html)
    assert all(f"<li>token {number}</li>" in shown for number in range(8))
    assert all(f"<li>token {number}</li>" in folded for number in range(8, 12))
    assert "What was lost" not in render_drill(drill())


def test_members_stand_on_one_clock_in_the_order_of_their_health(scenarios: RunRecord) -> None:
    fleet: DrillRecord = next(one for one in scenarios.drills if one.members)
    html = render_drill(fleet.model_copy(update={"members": MEMBERS}))
    text = words(html)
    assert "from the loss, 12 s in all" in text
    assert "step-ca 3 s 9 s grafana stand-in 6 s 12 s loki — — loki never became" in text
    assert re.findall(r"width:([\d.]+)%", html) == [
        "25.00",
        "50.00",
        "50.00",
        "50.00",
        "0.00",
        "0.00",
    ]
    assert "healthy &lt;b&gt;" in html


def test_kinds_of_tarball_are_compared(scenarios: RunRecord) -> None:
    text = words(render_summary(scenarios).partition("Kinds of tarball")[2])
    assert "The fleet file orders zstd, which was restored fastest of all: 1 s." in text
    assert (
        "zstd fleet file fastest 2 s 8.0 MiB/s 3 s 4.0 MiB 25 % of its content 1 s 16.0 MiB/s "
        "too little data: --weight ✓ recovered gzip 2 s 8.0 MiB/s"
    ) in text
    weighed = of_kind("zstd", 1.0)
    put = weighed.restore.model_copy(update={"projected_rto": 125.0, "declared_bytes": 10**11})
    projected = [weighed.model_copy(update={"restore": put}), of_kind("gzip", 2.0)]
    text = words(render_summary(scenarios.model_copy(update={"drills": projected})))
    assert "RTO at 93.1 GiB projected" in text
    assert "1 s 16.0 MiB/s 2 min 5 s ✓ recovered" in text
    one = scenarios.model_copy(update={"drills": [of_kind("zstd", 1.0)]})
    assert "Kinds of tarball" not in render_summary(one)


def test_encryption_is_a_fact_of_its_own_as_it_was_in_older_evidence() -> None:
    sealed = of_kind("zstd", 1.0)
    assert sealed.backup is not None
    seen = (
        "packets 3 (cipher 9: AES256), decrypts with its passphrase, another passphrase is refused"
    )
    for facts in (
        {"encryption": seen, "integrity": "read to the last byte"},
        {"integrity": f"encrypted: {seen}; read to the last byte"},
    ):
        backup = sealed.backup.model_copy(update={"encrypted": True, **facts})
        text = words(render_drill(sealed.model_copy(update={"backup": backup})))
        assert f"Encryption {seen} Integrity read to the last byte" in text
    assert "Encryption" not in words(render_drill(sealed))


def test_what_is_not_promised_is_told_apart_and_counted(golden: RunRecord) -> None:
    cells = [
        cell.model_copy(update={"promised": cell.scenario != "native"})
        for cell in golden.not_verified
    ]
    html = render_summary(golden.model_copy(update={"not_verified": cells}))
    assert (
        "Columns left out, since no service is promised them: native, rehearsal; native, existing"
        in words(html)
    )
    assert "Beside these, 16 cells of service by scenario by origin" in words(html)
