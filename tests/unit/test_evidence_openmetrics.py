"""metrics.prom, read back by Prometheus' own parser."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fixtures.evidence.openmetrics import metrics
from fixtures.evidence.record import Verdict
from tests.unit.test_evidence_judge import SKIPPED, run


def parsed(run):
    """Return (name, sorted label values) -> value; a sample given twice is an error."""
    found = {}
    for family in text_string_to_metric_families(metrics(run)):
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


def test_each_drill_has_exactly_one_verdict(golden):
    samples = parsed(golden)
    for drill in golden.drills:
        cell = (drill.service, drill.scenario, drill.origin)
        states = {
            verdict: samples["dr_drill_verdict", labels(*cell, verdict.replace(" ", "-"))]
            for verdict in Verdict
        }
        assert states == {verdict: float(verdict is drill.verdict) for verdict in Verdict}


def test_figures_are_those_of_the_evidence(golden):
    samples = parsed(golden)
    cell = labels("prometheus", "tarball", "rehearsal")
    late = golden.drills[1]
    assert late.restore is not None and late.backup is not None
    assert samples["dr_drill_rto_seconds", cell] == late.rto
    assert samples["dr_drill_rto_target_seconds", cell] == 1800
    assert samples["dr_drill_rpo_seconds", cell] == late.rpo
    assert samples["dr_drill_restored_bytes", cell] == late.restore.bytes
    assert samples["dr_drill_restore_bytes_per_second", cell] == late.restore.throughput
    assert samples["dr_drill_backup_file_bytes", cell] == late.backup.file_bytes
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
    samples = parsed(golden)
    failed = labels("mosquitto", "tarball", "rehearsal")
    assert ("dr_drill_rto_target_seconds", failed) in samples
    assert ("dr_drill_rto_seconds", failed) not in samples
    assert ("dr_drill_rpo_seconds", failed) not in samples
    unfinished = parsed(golden.model_copy(update={"finished": None}))
    assert ("dr_run_finished_timestamp_seconds", ()) not in unfinished


def test_a_skip_is_counted_and_is_no_recovery():
    samples = parsed(run(skipped=[SKIPPED]))
    assert samples["dr_run_drills_skipped", ()] == 9
    assert samples["dr_run_verdict", ("recovered",)] == 0
    assert samples["dr_run_verdict", ("not-verified",)] == 1
    assert not any(name == "dr_drill_verdict" and "grafana" in cell for name, cell in samples)
