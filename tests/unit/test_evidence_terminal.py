"""The end of a run on a terminal: verdict, gaps and faults, in 100 columns whatever the names."""

from types import SimpleNamespace

import pytest

from fixtures.evidence.record import CellRecord, CleanupRecord
from fixtures.plugin.terminal import WIDTH, DrillTerminal, summary_lines
from tests.unit.test_evidence_judge import NO_PACKAGE, SKIPPED, drill, run

LONG = "atlas-terraform-state"


def test_the_verdict_comes_first_then_what_the_run_lacks():
    assert summary_lines(run()) == [
        "verdict of the run: recovered",
        "The only drill recovered within target.",
        "1 other promised recovery was not selected in this run",
    ]


def test_gaps_are_no_recovery_and_no_failure():
    skip = SKIPPED.model_copy(update={"reason": f"grafana: {NO_PACKAGE}"})
    about = {"scenario": "x", "origin": "existing"}
    cells = [
        CellRecord(service="grafana", **about, reason=skip.reason),
        *(cell.model_copy(update={"reason": "no file"}) for cell in run().not_verified),
    ]
    assert summary_lines(run(skipped=[skip], not_verified=cells)) == [
        "verdict of the run: recovered, with gaps: grafana",
        "The only drill that could be made recovered within target.",
        f"  not verified: grafana (9 drills skipped): {NO_PACKAGE}",
        "1 other recovery that the fleet file promises is not verified:",
        "  step-ca: no file",
    ]


def test_it_is_short_and_no_line_is_wider_than_a_terminal():
    about = {"service": LONG, "scenario": "encrypted-tarball", "rto": 9e3}
    many = [drill(**about, variant=f"optimized-zstd-{n}") for n in range(60)]
    about = {"scenario": "s", "origin": "existing", "reason": "why " * 40}
    cells = [CellRecord(service=f"{LONG}-{n}", **about) for n in range(9)]
    lines = summary_lines(run(drills=many, not_verified=cells))
    assert len(lines) < 20
    assert max(map(len, lines)) <= WIDTH


def test_what_is_not_promised_is_no_gap():
    about = {"service": "loki", "scenario": "native", "origin": "rehearsal"}
    cells = [
        CellRecord(**about, reason="no export", promised=False),
        CellRecord(**about, reason="no image"),
    ]
    assert summary_lines(run(not_verified=cells))[2:] == [
        "1 recovery that the fleet file promises is not verified:",
        "  loki: no image",
    ]


def test_a_reason_that_several_faults_have_is_there_once():
    faults = [f"look for {n}: nothing listens there\nHINT: is Incus up?" for n in "abc"]
    lines = summary_lines(run(errors=["the disk was full", *faults]))
    assert lines[-2:] == [
        "ERROR: the disk was full",
        "ERROR: look for a, look for b, look for c: nothing listens there\nHINT: is Incus up?",
    ]


def test_faults_and_the_command_that_finishes_the_clean_up_come_last():
    cleanup = CleanupRecord(left=["project drill-x"], command="incus project delete drill-x")
    lines = summary_lines(run(errors=["the disk was full"], cleanup=cleanup))
    assert lines[0] == "verdict of the run: not verified"
    assert lines[-3:] == [
        "ERROR: the disk was full",
        "ERROR: project drill-x",
        "finish the clean-up with: incus project delete drill-x",
    ]


def test_ctrl_c_before_there_is_a_record_ends_without_a_trace():
    early = DrillTerminal(SimpleNamespace(stash=pytest.Stash()))
    early.pytest_keyboard_interrupt(None)
