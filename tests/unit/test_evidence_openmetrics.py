"""metrics.prom, read back by Prometheus' own parser."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fixtures.evidence.openmetrics import metrics, newest_proofs
from fixtures.evidence.record import Verdict
from fixtures.evidence.writer import history_lines
from tests.unit.test_evidence_judge import SKIPPED, run


def parsed(*args, **kwargs):
    """Return (name, sorted label values) -> value; a sample given twice is an error."""
    found = {}
    for family in text_string_to_metric_families(metrics(*args, **kwargs)):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.values())))
            assert key not in found, key
            # node_exporter's textfile collector refuses a file with timestamps.
            assert sample.timestamp is None, key
            found[key] = sample.value
    return found


def labels(*values):
    """Return label values in the order of the keys of `parsed`."""
    return tuple(sorted(values))


def verdicts_of(samples, name, cell):
    """Return which verdicts of a cell have 1; each of the others has 0, or none has a sample."""
    values = {x: samples.get((name, labels(*cell, x.replace(" ", "-")))) for x in Verdict}
    assert set(values.values()) in ({0.0, 1.0}, {None})
    return [verdict for verdict, value in values.items() if value]


def test_figures_and_verdicts_are_those_of_the_evidence(golden):
    samples, late = parsed(golden), golden.drills[1]
    for drill in golden.drills:
        assert verdicts_of(samples, "dr_drill_verdict", drill.place) == [drill.verdict]
    figures = {
        "rto_seconds": late.rto,
        "rto_target_seconds": 1800,
        "rpo_seconds": late.rpo,
        "restored_bytes": late.restore.bytes,
        "restore_bytes_per_second": late.restore.throughput,
        "backup_file_bytes": late.backup.file_bytes,
    }
    assert {x: samples[f"dr_drill_{x}", labels(*late.place)] for x in figures} == figures
    assert samples["dr_run_finished_timestamp_seconds", ()] == 1795452183
    assert samples["dr_run_objects_left", ()] == 1
    assert samples["dr_run_not_verified_cells", ()] == 8 * 8 * 2 - 6


@pytest.mark.parametrize("changed", [{"stand_in": True}, {"verdict": Verdict.WRONG_DATA}])
def test_what_proves_nothing_has_no_rto(golden, changed):
    """An alert rule on it would pass on an imitation of old evidence, or on wrong data."""
    cell = labels("prometheus", "tarball", "rehearsal")
    late = golden.drills[1]
    drills = [golden.drills[0], late.model_copy(update=changed), *golden.drills[2:]]
    for made in (drills, [*drills, late]):
        samples = parsed(golden.model_copy(update={"drills": made}))
        assert ("dr_drill_rto_seconds", cell) not in samples
        assert samples["dr_drill_rto_target_seconds", cell] == 1800


def test_what_was_not_measured_has_no_sample(golden):
    samples, failed = parsed(golden), labels("mosquitto", "tarball", "rehearsal")
    figures = ("rto_target_seconds", "rto_seconds", "rpo_seconds")
    assert [(f"dr_drill_{name}", failed) in samples for name in figures] == [True, False, False]
    unfinished = parsed(golden.model_copy(update={"finished": None}))
    assert ("dr_run_finished_timestamp_seconds", ()) not in unfinished


def test_a_skip_is_counted_and_is_no_recovery():
    samples = parsed(run(skipped=[SKIPPED]))
    assert samples["dr_run_drills_skipped", ()] == 9
    assert samples["dr_run_verdict", ("recovered",)] == 0
    assert samples["dr_run_verdict", ("not-verified",)] == 1
    assert not any(name == "dr_drill_verdict" and "grafana" in cell for name, cell in samples)


CELL = ("prometheus", "tarball", "rehearsal")


def after(golden, *older, **changed):
    """Return the samples of a run without drills, after older ones: (days ago, changes)."""
    (drill,) = [d for d in golden.drills if (d.service, d.scenario, d.origin) == CELL]
    now = golden.model_copy(update={"drills": [], "drills_made": 0, **changed})
    history = []
    for days, changes in older:
        begun = golden.begun - timedelta(days=days)
        run = {"run": f"run-{days}", "drills": [drill.model_copy(update={"begun": begun})]}
        lines = history_lines(golden.model_copy(update=run))
        history += [line.model_copy(update=changes) for line in lines]
    return parsed(now.model_copy(update={"proofs": newest_proofs(now, history)}))


GREEN, RED = {"verdict": Verdict.RECOVERED}, {"verdict": Verdict.WRONG_DATA}


EXISTING = {**GREEN, "origin": "existing"}


def proof(golden, samples):
    """Return the verdict of the cell's proof, its age and that of the last green one, in days."""

    def days(name):
        moment = samples.get((f"dr_proof_{name}timestamp_seconds", labels(*CELL)))
        return None if moment is None else round((golden.begun.timestamp() - moment) / 86400)

    found = verdicts_of(samples, "dr_proof_verdict", CELL)
    return found, days(""), days("recovered_")


def test_what_failed_in_june_is_not_repaired_by_a_run_of_others(golden):
    samples = after(golden, (9, GREEN), (5, RED))
    assert proof(golden, samples) == ([Verdict.WRONG_DATA], 5, 9)
    assert not any(name == "dr_drill_verdict" for name, _ in samples)
    assert proof(golden, after(golden, (9, RED), (5, GREEN))) == ([Verdict.RECOVERED], 5, 5)
    assert proof(golden, after(golden, (9, RED))) == ([Verdict.WRONG_DATA], 9, None)


def test_a_red_line_of_the_future_is_as_of_the_line_before_it(golden):
    assert proof(golden, after(golden, (9, GREEN), (-5, RED))) == ([Verdict.WRONG_DATA], 9, 9)
    mended = after(golden, (9, GREEN), (-5, RED), (5, GREEN), (-6, GREEN))
    assert proof(golden, mended) == ([Verdict.RECOVERED], 5, 5)


def test_of_several_drills_of_a_cell_in_one_run_the_worst_counts(golden):
    for lines in ([(5, RED), (5, GREEN)], [(5, GREEN), (5, RED)]):
        assert proof(golden, after(golden, (9, GREEN), *lines)) == ([Verdict.WRONG_DATA], 5, 9)


@pytest.mark.parametrize(
    "changes",
    [
        {"variant": "sample-1"},
        {"target": "another"},
        {"begun": datetime(2099, 1, 1, tzinfo=UTC)},
        {"service": "gone"},
        {"is_older": True},
    ],
)
def test_what_says_nothing_of_the_cell_is_no_proof(golden, changes):
    assert proof(golden, after(golden, (5, {**GREEN, **changes}))) == ([], None, None)
    older = after(golden, (9, RED), (5, {**GREEN, **changes}))
    assert proof(golden, older) == ([Verdict.WRONG_DATA], 9, None)


def test_an_old_backup_that_was_asked_for_proves_nothing_of_the_newest(golden):
    place = ("dr_proof_recovered_timestamp_seconds", labels("prometheus", "tarball", "existing"))
    assert place not in after(golden, (5, {**EXISTING, "is_older": True}))
    assert place in after(golden, (5, EXISTING))
    lost = (5, {"origin": "existing", **RED, "is_older": True})
    found = verdicts_of(
        after(golden, (9, EXISTING), lost), "dr_proof_verdict", (*CELL[:2], "existing")
    )
    assert found == [Verdict.WRONG_DATA], "an older backup that does not come back is a fault"


def test_a_proof_is_valid_until_the_programme_says(golden):
    name = "dr_proof_valid_until_timestamp_seconds"
    assert not any(found == name for found, _ in parsed(golden))
    ends = {CELL: datetime(2027, 1, 1, tzinfo=UTC)}
    known = golden.model_copy(update={"proofs": newest_proofs(golden, (), ends)})
    assert parsed(known)[name, labels(*CELL)] == 1798761600
