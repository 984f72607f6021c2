"""Two xdist workers: two drill projects, one record, and nothing left of either."""

from __future__ import annotations


def test_two_workers_make_one_report(start, drill_projects):
    run = start("-n", "2", drill="snapshot and (prometheus or mosquitto)")
    assert run.finish() == 0, run.output
    evidence = run.evidence
    assert {drill["verdict"] for drill in evidence["drills"]} == {"recovered"}
    assert {drill["service"] for drill in evidence["drills"]} == {"prometheus", "mosquitto"}
    assert len({drill["project"] for drill in evidence["drills"]}) == 2
    assert evidence["incus"]["version"]
    assert evidence["source"]["before"] == evidence["source"]["after"]
    assert evidence["errors"] == []
    assert "verdict of the run: recovered" in run.output
    assert ": verified " in run.output, "the workers' progress is told by the controller"
    assert drill_projects() == set()
