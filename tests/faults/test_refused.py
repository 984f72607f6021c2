"""A drill that aims at the source: the guard refuses, and the run ends there."""

import pytest

from fixtures.evidence.record import STOPPED_BY_GUARD
from fixtures.incus.inventory import inventory

TWO = "snapshot and (prometheus or mosquitto or alertmanager)"


@pytest.mark.parametrize(("swallowed", "workers"), [("no", ()), ("yes", ("-n", "2"))])
def test_a_drill_that_aims_at_the_source_ends_the_run(
    start, server, fleet, drill_projects, swallowed, workers
):
    before = inventory(server, fleet.source_project)
    run = start(
        *("-p", "tests.faults.at_production", *workers),
        drill=TWO,
        environment={"ATLAS_DRILLS_TEST_SWALLOWED": swallowed},
    )
    assert run.finish() == pytest.ExitCode.INTERNAL_ERROR, run.output
    record = run.evidence
    refusals = [error for error in record["errors"] if error.startswith(STOPPED_BY_GUARD)]
    assert refusals, record["errors"]
    assert "PUT /1.0/instances/" in refusals[0]
    assert "project=atlas" in refusals[0]
    assert 1 <= len(record["drills"]) <= (2 if workers else 1), "the others were made as well"
    for drill in record["drills"]:
        assert drill["verdict"] == "not verified"
        assert drill["reason"].startswith("the run was stopped: ")
    words = " ".join(run.output.split())
    assert "The run was stopped, since its guard refused a request of this suite: " in words
    assert drill_projects() == set()
    assert inventory(server, fleet.source_project) == before
