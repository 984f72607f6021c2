"""Two xdist workers: two drill projects, one record, and nothing left of either, or of others."""

import signal


def test_two_workers_reap_in_turn_and_make_one_report(start, drill_projects):
    killed = start()
    killed.read_until(": restore ")
    killed.hurt(signal.SIGKILL)
    killed.finish()
    orphans = drill_projects()
    scratch = [f"directory {path}" for path in killed.temporary.glob("atlas-drills-scratch-*")]
    assert orphans and len(scratch) == 1

    run = start("-n", "2", drill="snapshot and (prometheus or mosquitto)")
    assert run.finish() == 0, run.output
    evidence = run.evidence
    # Each once, whichever of the workers was faster.
    assert sorted(evidence["cleanup"]["reaped"]) == sorted([*scratch, *orphans])
    assert evidence["cleanup"]["left"] == evidence["errors"] == []
    assert {drill["verdict"] for drill in evidence["drills"]} == {"recovered"}
    assert {drill["service"] for drill in evidence["drills"]} == {"prometheus", "mosquitto"}
    assert len({drill["project"] for drill in evidence["drills"]}) == 2
    assert evidence["incus"]["version"]
    assert evidence["source"]["before"] == evidence["source"]["after"]
    assert "verdict of the run: recovered" in run.output
    assert ": verified " in run.output, "the workers' progress is printed by the controller"
    assert drill_projects() == set()
