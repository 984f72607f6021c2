"""The end of a run on a terminal: every drill once, in 100 columns, whatever the names."""

from __future__ import annotations

from fixtures.evidence.record import CellRecord, CleanupRecord
from fixtures.evidence.terminal import WIDTH, summary_lines
from fixtures.evidence.verdict import Verdict
from tests.unit.test_evidence_judge import drill, run

LONG = "atlas-terraform-state"


def test_drills_are_grouped_and_aligned() -> None:
    drills = [
        drill(service="grafana", stand_in=True, verdict=Verdict.NOT_VERIFIED),
        drill(),
        drill(service="grafana", variant="optimized-zstd", rto=None),
        drill(scenario="rebuild", target_rto=1800.0),
    ]
    assert summary_lines(run(drills=drills))[:6] == [
        "snapshot: 3 drills, 1 not verified: stand-in, 1 recovered, 1 not verified; target 15 min",
        "  ? grafana                  not verified: stand-in      (5.00 s)",
        "  ? grafana  optimized-zstd  not verified                      —",
        "  ✓ step-ca                  recovered                    5.00 s",
        "rebuild: target 30 min",
        "  ✓ step-ca                  recovered                    5.00 s",
    ]


def test_no_line_is_wider_than_a_terminal() -> None:
    many = [
        drill(service=LONG, scenario="encrypted-tarball", variant=f"optimized-zstd-{n}", rto=9e3)
        for n in range(60)
    ]
    cells = [
        CellRecord(service=f"{LONG}-{n}", scenario="s", origin="existing", reason="why " * 40)
        for n in range(9)
    ]
    lines = summary_lines(run(drills=many, not_verified=cells))
    assert len(lines) > 60
    assert max(map(len, lines)) <= WIDTH


def test_seconds_of_no_recovery_are_in_brackets_and_said_so() -> None:
    wrong = summary_lines(run(drills=[drill(verdict=Verdict.WRONG_DATA)]))
    assert wrong[1].endswith("(5.00 s)")
    assert "(seconds in brackets: on the clock, but no verified recovery)" in wrong
    assert not any("brackets" in line for line in summary_lines(run()))


def test_what_is_not_promised_is_no_gap() -> None:
    about = {"service": "loki", "scenario": "native", "origin": "rehearsal"}
    cells = [
        CellRecord(**about, reason="no export", promised=False),
        CellRecord(**about, reason="not selected in this run"),
    ]
    lines = summary_lines(run(not_verified=cells))
    assert "1 recovery that the fleet file promises is not verified:" in lines
    assert "  loki: not selected in this run" in lines
    assert not any("no export" in line for line in lines)


def test_faults_and_what_finishes_the_clean_up_are_told() -> None:
    cleanup = CleanupRecord(left=["project drill-x"], command="incus project delete drill-x")
    lines = summary_lines(run(errors=["the disk was full"], cleanup=cleanup))
    assert "ERROR: the disk was full" in lines
    assert "ERROR: project drill-x" in lines
    assert "finish the clean-up with: incus project delete drill-x" in lines
    assert lines[-1] == "verdict of the run: not verified"
