"""The runbook's table and the coverage: no figure without a drill, no cell without an answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fixtures.evidence.coverage import coverage, unexplained
from fixtures.evidence.history import HistoryLine
from fixtures.evidence.record import BenchmarkRow, IncusRecord, RunRecord
from fixtures.evidence.runbook_table import as_markdown, benchmark_rows
from fixtures.evidence.verdict import Verdict
from fixtures.evidence.wording import rate, seconds, size
from fixtures.evidence.writer import read_evidence

TITLES = {"snapshot": ("By snapshot", 900.0), "rebuild": ("Without data", 1800.0)}


@pytest.fixture
def golden() -> RunRecord:
    """A run with all five verdicts."""
    return read_evidence(Path(__file__).parents[2] / "tests/report/evidence-v1.json")


def line(**changed: Any) -> HistoryLine:
    """A passing drill of an older run in the lab, but for what is changed."""
    sane: dict[str, Any] = {
        "run": "older",
        "begun": datetime(2026, 5, 1, tzinfo=UTC),
        "host": "h",
        "incus": "7.0.0",
        "target": "lab",
        "service": "step-ca",
        "scenario": "rebuild",
        "origin": "rehearsal",
        "verdict": Verdict.RECOVERED,
        "rto": 60.0,
        "rpo": None,
        "target_rto": 1800.0,
    }
    return HistoryLine(**{**sane, **changed})


def row(run: RunRecord, history: list[HistoryLine], scenario: str) -> BenchmarkRow:
    """The row of `scenario`."""
    rows = benchmark_rows(run, history, TITLES)
    (found,) = [row for row in rows if row.scenario == scenario]
    return found


def test_a_line_of_a_clock_that_was_ahead_hides_no_failure(golden: RunRecord) -> None:
    ahead = line(scenario="snapshot", begun=datetime(2099, 1, 1, tzinfo=UTC))
    assert row(golden, [ahead], "snapshot").verdict is Verdict.WRONG_DATA
    never = line(scenario="rebuild", begun=datetime(2099, 1, 1, tzinfo=UTC))
    kept = [drill for drill in golden.drills if drill.scenario != "rebuild"]
    other = golden.model_copy(update={"drills": kept})
    assert row(other, [never], "rebuild").last_tested is None
    assert row(other, [never, line()], "rebuild").last_tested == line().begun


def test_what_the_run_itself_drilled_is_the_newest(golden: RunRecord) -> None:
    """Although another run began before it ended, or at the same moment."""
    (one, *_) = [drill for drill in golden.drills if drill.scenario == "snapshot"]
    beside = line(scenario="snapshot", begun=golden.begun, run="beside")
    early = one.model_copy(update={"begun": golden.begun - timedelta(seconds=1)})
    ours = golden.model_copy(update={"drills": [early]})
    assert row(ours, [beside], "snapshot").drills == 1
    assert "figures of run" not in (row(ours, [beside], "snapshot").reason or "")


def test_an_rto_of_wrong_data_is_no_actual(golden: RunRecord) -> None:
    found = row(golden, [], "snapshot")
    assert (found.actual, found.verdict, found.drills) == (2.14, Verdict.WRONG_DATA, 2)
    assert found.reason == "alertmanager, rehearsal: wrong data"


def test_what_was_drilled_without_a_title_has_a_row(golden: RunRecord) -> None:
    found = row(golden, [], "tarball")
    assert found.actual == golden.drills[1].rto
    assert found.verdict is Verdict.NOT_RECOVERED


def test_a_scenario_never_drilled_says_why(golden: RunRecord) -> None:
    found = row(golden, [], "rebuild")
    assert (found.verdict, found.actual, found.last_tested) == (Verdict.NOT_VERIFIED, None, None)
    assert found.reason == (
        "never drilled: declared in the fleet, but no drill is written for it yet; "
        "no drill is written for this scenario yet"
    )


def test_the_newest_run_counts_with_its_slowest_drill(golden: RunRecord) -> None:
    newer = datetime(2026, 6, 1, tzinfo=UTC)
    history = [
        line(rto=600.0),
        line(run="newer", begun=newer, rto=70.0),
        line(run="newer", begun=newer, rto=80.0, service="loki"),
    ]
    found = row(golden, history, "rebuild")
    assert (found.actual, found.last_tested, found.drills) == (80.0, newer, 2)
    assert found.reason == "not drilled in this run; figures of run newer"


def test_a_figure_of_the_lab_never_stands_for_production(golden: RunRecord) -> None:
    assert golden.incus is not None
    incus = IncusRecord(**{**golden.incus.model_dump(), "target": "production"})
    production = golden.model_copy(update={"incus": incus})
    assert row(production, [line()], "rebuild").actual is None


def test_a_run_in_the_history_is_not_counted_twice(golden: RunRecord) -> None:
    own = line(run=golden.run, scenario="snapshot", rto=890.0)
    assert row(golden, [own], "snapshot").drills == 2


def test_over_the_row_s_target_is_late(golden: RunRecord) -> None:
    assert row(golden, [line(rto=1801.0, target_rto=9e9)], "rebuild").verdict is (
        Verdict.RECOVERED_LATE
    )


def stand_in(service: str, **changed: object) -> HistoryLine:
    """A line that its stand-ins alone keep from `recovered`."""
    only = changed.pop("only_stand_ins", [service])
    return line(service=service, verdict=Verdict.NOT_VERIFIED, only_stand_ins=only, **changed)


def test_a_row_short_of_stand_ins_alone_has_its_figure(golden: RunRecord) -> None:
    history = [line(rto=60.0), stand_in("grafana", rto=70.0), stand_in("atlantis", rto=50.0)]
    found = row(golden, history, "rebuild")
    assert (found.actual, found.slowest, found.verdict) == (70.0, "grafana", Verdict.NOT_VERIFIED)
    assert found.stand_ins == ["grafana", "atlantis"]
    assert "1 min 10 s (incl. stand-ins: grafana, atlantis), not verified" in as_markdown([found])


def test_a_full_rebuild_has_the_figure_of_the_fleet(golden: RunRecord) -> None:
    whole = stand_in("fleet", scenario="full-rebuild", rto=14.0, only_stand_ins=["grafana"])
    found = row(golden, [whole], "full-rebuild")
    assert (found.actual, found.slowest, found.stand_ins) == (14.0, "fleet", ["grafana"])


def test_beside_another_shortcoming_no_stand_in_is_counted(golden: RunRecord) -> None:
    other = line(service="loki", verdict=Verdict.NOT_VERIFIED, rto=90.0)
    found = row(golden, [line(rto=60.0), stand_in("grafana", rto=70.0), other], "rebuild")
    assert (found.actual, found.stand_ins) == (60.0, [])
    assert found.reason == (
        "loki, rehearsal: not verified; stand-ins: grafana; "
        "not drilled in this run; figures of run older"
    )


def test_a_stand_in_without_a_figure_of_an_older_suite_shows_none(golden: RunRecord) -> None:
    old = line(service="grafana", verdict=Verdict.NOT_VERIFIED, rto=70.0)
    assert row(golden, [old], "rebuild").actual is None


def test_the_slowest_variant_is_named(golden: RunRecord) -> None:
    history = [line(variant="copy", rto=61.0), line(rto=60.0)]
    assert row(golden, history, "rebuild").slowest == "step-ca, copy"


def test_markdown_shows_a_bare_figure_only_for_a_pass(golden: RunRecord) -> None:
    history = [line()]
    text = as_markdown(benchmark_rows(golden, history, TITLES), measured_on="lab, host h|x")
    assert text.splitlines()[:4] == [
        "| Scenario | Target RTO | Last tested | Actual |",
        "|---|---|---|---|",
        "| By snapshot | 15 min | 2026-11-23 | 2.14 s, wrong data"
        " (alertmanager, rehearsal: wrong data) |",
        "| Without data | 30 min | 2026-05-01 | 1 min |",
    ]
    assert text.endswith("Measured on lab, host h\\|x.\n")


def test_the_golden_run_has_no_unexplained_cell(golden: RunRecord) -> None:
    assert len(coverage(golden).cells) == 8 * 8 * 2
    assert unexplained(golden) == []


def test_a_cell_without_an_answer_is_named(golden: RunRecord) -> None:
    run = golden.model_copy(update={"not_verified": golden.not_verified[1:]})
    assert [str(cell) for cell in unexplained(run)] == [
        "grafana x snapshot x rehearsal: not verified: unexplained"
    ]
    assert len(unexplained(golden.model_copy(update={"not_verified": []}))) == 8 * 8 * 2 - 6


def test_a_blank_reason_explains_nothing(golden: RunRecord) -> None:
    blank = golden.not_verified[0].model_copy(update={"reason": " "})
    run = golden.model_copy(update={"not_verified": [blank, *golden.not_verified[1:]]})
    assert len(unexplained(run)) == 1


def test_the_worst_of_several_ways_is_the_cell_s(golden: RunRecord) -> None:
    good = golden.drills[0]
    bad = good.model_copy(update={"variant": "xz", "verdict": Verdict.NOT_RECOVERED})
    run = golden.model_copy(update={"drills": [good, bad]})
    cell = coverage(run).cells["step-ca", "snapshot", "rehearsal"]
    assert (cell.verdict, cell.words, cell.drills) == (
        Verdict.NOT_RECOVERED,
        "not recovered",
        (good, bad),
    )


def test_a_cell_says_stand_in_only_where_it_is_all(golden: RunRecord) -> None:
    grafana = golden.drills[4]
    cells = coverage(golden).cells
    assert cells["grafana", "tarball", "rehearsal"].words == "not verified: stand-in"
    unseen = grafana.model_copy(update={"canaries": None})
    run = golden.model_copy(update={"drills": [grafana, unseen]})
    assert coverage(run).cells["grafana", "tarball", "rehearsal"].words == "not verified"


def test_columns_that_nobody_is_promised_are_left_out_in_words(golden: RunRecord) -> None:
    cells = [
        cell.model_copy(update={"promised": (cell.scenario, cell.origin) != ("native", "existing")})
        for cell in golden.not_verified
    ]
    table = coverage(golden.model_copy(update={"not_verified": cells}))
    assert table.left_out == ["native, existing"]
    assert len(table.promised) == 8 * 8 * 2 - 8
    assert table.widths["native"] == 1
    assert len(table.row("grafana")) == 15


def test_what_is_not_promised_still_needs_its_reason(golden: RunRecord) -> None:
    blank = golden.not_verified[0].model_copy(update={"reason": " ", "promised": False})
    run = golden.model_copy(update={"not_verified": [blank, *golden.not_verified[1:]]})
    assert len(unexplained(run)) == 1
    assert len(coverage(run).promised) == 8 * 8 * 2


def test_a_service_that_the_run_did_not_list_has_a_row(golden: RunRecord) -> None:
    run = golden.model_copy(update={"services": ["grafana"], "scenarios": []})
    assert set(coverage(run).services) >= {"grafana", "step-ca", "mosquitto", "loki"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0, "0 s"),
        (0.84, "0.84 s"),
        (9.999, "10.0 s"),
        (42.3, "42.3 s"),
        (59.96, "1 min"),
        (900, "15 min"),
        (750.4, "12 min 30 s"),
        (3599.7, "1 h"),
        (7500, "2 h 5 min"),
        (-2.5, "-2.50 s"),
    ],
)
def test_seconds_in_words(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_sizes_in_words() -> None:
    assert [size(value) for value in (None, 0, 1023, 1536, 150 * 2**20, 100 * 2**30)] == [
        "—",
        "0 B",
        "1023 B",
        "1.5 KiB",
        "150 MiB",
        "100 GiB",
    ]
    assert rate(2**20) == "1.0 MiB/s"
