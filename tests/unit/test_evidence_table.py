"""The runbook's table and the coverage: no figure without a drill, no cell without an answer."""

from datetime import UTC, datetime, timedelta

import pytest

from fixtures.evidence.judge import unanswered
from fixtures.evidence.record import Verdict
from fixtures.evidence.wording import age, count, coverage, rate, seconds, size
from fixtures.evidence.writer import HistoryLine, benchmark_rows
from tests.unit.test_evidence_judge import SKIPPED

TITLES = {"snapshot": ("By snapshot", 900.0), "rebuild": ("Without data", 1800.0)}
LATER = datetime(2099, 1, 1, tzinfo=UTC)


OLDER = HistoryLine(
    run="older",
    begun=datetime(2026, 5, 1, tzinfo=UTC),
    host="h",
    incus="7.0.0",
    target="lab",
    service="step-ca",
    scenario="rebuild",
    origin="rehearsal",
    verdict=Verdict.RECOVERED,
    rto=60.0,
    rpo=None,
    target_rto=1800.0,
)


def line(**changed):
    """A passing drill of an older run in the lab, except for what is changed."""
    return OLDER.model_copy(update=changed)


def test_a_line_of_an_older_suite_without_an_rpo_is_of_an_older_backup():
    assert line(origin="existing").is_of_older
    said = [{}, {"origin": "existing", "rpo": 3.0}, {"origin": "existing", "is_older": False}]
    assert not any(line(**changed).is_of_older for changed in said)


def row(run, history, scenario):
    """Return the row of `scenario`."""
    (found,) = (x for x in benchmark_rows(run, history, TITLES) if x.scenario == scenario)
    return found


def test_a_line_from_a_clock_that_was_too_fast_hides_no_failure(golden):
    early = line(scenario="snapshot", begun=LATER)
    assert row(golden, [early], "snapshot").verdict is Verdict.WRONG_DATA
    never = line(begun=LATER)
    assert row(golden, [never], "rebuild").last_tested is None
    assert row(golden, [never, line()], "rebuild").last_tested == line().begun


def test_what_the_run_itself_drilled_is_the_newest_and_counted_once(golden):
    """Although another run began before it ended, or at the same moment."""
    drill = next(drill for drill in golden.drills if drill.scenario == "snapshot")
    parallel = line(scenario="snapshot", begun=golden.begun, run="parallel")
    early = drill.model_copy(update={"begun": golden.begun - timedelta(seconds=1)})
    found = row(golden.model_copy(update={"drills": [early]}), [parallel], "snapshot")
    assert found.drills == 1 and "figures of run" not in (found.reason or "")
    own = line(run=golden.run, scenario="snapshot", rto=890.0)
    assert row(golden, [own], "snapshot").drills == 2


def test_an_rto_of_wrong_data_is_no_actual_and_a_drill_without_a_title_has_a_row(golden):
    found = row(golden, [], "snapshot")
    assert (found.actual, found.verdict, found.drills) == (2.14, Verdict.WRONG_DATA, 2)
    assert found.reason == "alertmanager, rehearsal: wrong data"
    found = row(golden, [], "tarball")
    assert (found.actual, found.target_rto) == (golden.drills[1].rto, 1800.0)
    assert found.verdict is Verdict.NOT_RECOVERED


def test_a_scenario_never_drilled_says_why(golden):
    found = row(golden, [], "rebuild")
    assert (found.verdict, found.actual, found.last_tested) == (Verdict.NOT_VERIFIED, None, None)
    assert found.reason == (
        "never drilled: declared in the fleet, but no drill is written for it yet; "
        "no drill is written for this scenario yet"
    )
    bare = golden.model_copy(update={"not_verified": []})
    assert row(bare, [], "rebuild").reason == "never drilled"


def test_the_newest_run_counts_with_its_slowest_drill(golden):
    newer = datetime(2026, 6, 1, tzinfo=UTC)
    history = [
        line(rto=600.0),
        line(run="newer", begun=newer, rto=70.0),
        line(run="newer", begun=newer, rto=80.0, service="loki", variant="copy"),
        line(rto=900.0, run="old", begun=datetime(2026, 1, 1, tzinfo=UTC)),
    ]
    found = row(golden, history, "rebuild")
    assert (found.actual, found.last_tested, found.drills) == (80.0, newer, 2)
    assert found.slowest == "loki, copy"
    assert found.reason == "not drilled in this run; figures of run newer"


def test_a_figure_of_another_target_is_not_taken_and_over_the_row_s_target_is_late(golden):
    assert row(golden, [line()], "rebuild").actual == 60.0
    assert row(golden, [line(target="production")], "rebuild").actual is None
    slow = row(golden, [line(rto=1801.0, target_rto=9e9)], "rebuild")
    assert slow.verdict is Verdict.RECOVERED_LATE


def test_the_person_answers_the_target_and_the_runbook_is_shown(golden):
    others = [line(procedure="runbook", rto=1900.0), line(procedure="person", rto=1700.0)]
    found = row(golden, [line(), *others], "rebuild")
    assert (found.actual, found.runbook, found.person) == (60.0, 1900.0, 1700.0)
    assert found.verdict is Verdict.RECOVERED
    slow = row(golden, [line(), line(procedure="person", rto=1801.0)], "rebuild")
    assert slow.verdict is Verdict.RECOVERED_LATE
    assert "person" not in slow.reason
    years_ago = line(procedure="person", run="r9", begun=line().begun.replace(year=2020))
    assert row(golden, [years_ago, line()], "rebuild").reason.endswith(" 2020, run r9")


def test_a_row_names_what_was_skipped_in_it(golden):
    run, wrong = golden.model_copy(update={"skipped": [SKIPPED]}), "alertmanager, rehearsal: wrong"
    assert row(run, [], "snapshot").reason == f"{wrong} data; skipped: grafana"
    unpromised = [cell.model_copy(update={"promised": False}) for cell in run.not_verified]
    run = run.model_copy(update={"not_verified": unpromised})
    assert row(run, [], "snapshot").reason == f"{wrong} data"


def test_an_imitation_of_an_older_suite_has_no_figure(golden):
    imitation = line(verdict=Verdict.NOT_VERIFIED, only_stand_ins=["grafana"], service="grafana")
    found = row(golden, [line(rto=60.0), imitation], "rebuild")
    assert (found.actual, found.verdict) == (60.0, Verdict.NOT_VERIFIED)
    assert found.reason == (
        "grafana, rehearsal: not verified; not drilled in this run; figures of run older"
    )


def test_a_cell_without_an_answer_is_named(golden):
    assert len(coverage(golden).cells) == 8 * 8 * 2
    assert unanswered(golden) == []
    (first, *others) = golden.not_verified
    blank = first.model_copy(update={"reason": " ", "promised": False})
    for cells in (others, [blank, *others]):
        run = golden.model_copy(update={"not_verified": cells})
        assert unanswered(run) == [("grafana", "snapshot", "rehearsal")]
        assert len(coverage(run).promised) == 8 * 8 * 2, "without a reason it is a gap"


def test_the_worst_of_several_variants_is_the_cell_s(golden):
    good = golden.drills[0]
    bad = good.model_copy(update={"variant": "copy", "verdict": Verdict.NOT_RECOVERED})
    run = golden.model_copy(update={"drills": [good, bad]})
    cell = coverage(run).cells["step-ca", "snapshot", "rehearsal"]
    assert (cell.verdict, cell.drills) == (Verdict.NOT_RECOVERED, (good, bad))


def test_columns_of_which_no_service_is_promised_anything_are_left_out(golden):
    cells = [
        cell.model_copy(update={"promised": (cell.scenario, cell.origin) != ("native", "existing")})
        for cell in golden.not_verified
    ]
    table = coverage(golden.model_copy(update={"not_verified": cells}))
    assert table.left_out == ["native, existing"]
    assert len(table.promised) == 8 * 8 * 2 - 8
    assert table.widths["native"] == 1
    assert len(table.row("grafana")) == 15


def test_a_service_that_the_run_did_not_list_has_a_row(golden):
    run = golden.model_copy(update={"services": ["grafana"], "scenarios": []})
    assert set(coverage(run).services) >= {"grafana", "step-ca", "mosquitto", "loki"}


@pytest.mark.parametrize("words", [seconds, age])
def test_seconds_in_words(words):
    values = (None, 0, 0.84, 9.999, 42.3, 59.96, 900, 750.4, 3599.7, 7500, -2.5)
    assert ", ".join(map(words, values)) == (
        "—, 0 s, 0.84 s, 10.0 s, 42.3 s, 1 min, 15 min, 12 min 30 s, 1 h, 2 h 5 min, -2.50 s"
    )


def test_sizes_ages_and_numbers_in_words():
    values = (None, 0, 1023, 1536, 150 * 2**20, 100 * 2**30)
    assert ", ".join(map(size, values)) == "—, 0 B, 1023 B, 1.5 KiB, 150 MiB, 100 GiB"
    assert rate(2**20) == "1.0 MiB/s"
    assert [age(86400), age(9 * 86400 + 7200)] == ["1 d", "9 d 2 h"]
    counted = [count(1, "canary"), count(2, "canary"), count(0, "drill")]
    assert counted == ["1 canary", "2 canaries", "0 drills"]
