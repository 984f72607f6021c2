"""A run that ends between a drill and its last look: never green, and nothing is left."""

from __future__ import annotations

import signal
import time

import pytest

from tests.faults.test_kill import remove

UNLOOKED = "stays up: the run ended before the service was looked at again"
PATIENT = ("-p", "tests.faults.patient")


def test_a_killed_run_has_the_drill_as_not_verified(start, drill_projects):
    killed = start(*PATIENT)
    killed.read_until(": verified ")
    time.sleep(3)
    killed.hurt(signal.SIGKILL)
    killed.finish()
    (drill,) = killed.evidence["drills"]
    assert (drill["verdict"], drill["reason"]) == ("not verified", UNLOOKED)
    assert drill["rto"], "what was measured is told"
    second = start()
    assert second.finish() == 0, second.output
    assert drill_projects() == set()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_an_interrupted_run_has_it_as_not_verified(start, drill_projects, how):
    run = start(*PATIENT)
    run.read_until(": is looked at again in ")
    run.hurt(how)
    assert run.finish() == pytest.ExitCode.INTERRUPTED, run.output
    (drill,) = run.evidence["drills"]
    assert (drill["verdict"], drill["reason"]) == ("not verified", UNLOOKED)
    assert run.evidence["cleanup"]["left"] == []
    assert drill_projects() == set()


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])
def test_a_service_that_dies_fails_its_test_while_others_pass(start, drill_projects, workers):
    run = start("-p", "tests.faults.killed_after", *workers, drill="snapshot and mosquitto")
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    (drill,) = run.evidence["drills"]
    assert drill["verdict"] == "not recovered"
    assert "did not stay up after it was healthy: its instance is Stopped" in drill["reason"]
    assert "1 failed" in run.output and "passed" not in run.output.splitlines()[-1]
    assert drill_projects() == set()


def test_keep_leaves_the_project_of_a_drill_that_fails_afterwards(start, server, drill_projects):
    run = start("--keep", "-p", "tests.faults.killed_after")
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    (kept,) = drill_projects()
    assert run.evidence["cleanup"]["kept"] == [kept]
    view = server.within(kept)
    assert view.exists(view.api.instances["prometheus01"]), "there is something to look at"
    remove(server, kept)


def test_drills_of_one_service_do_not_wait_for_each_other(start, drill_projects):
    run = start(*PATIENT, drill="mosquitto and (tarball or snapshot)")
    assert run.finish() == 0, run.output
    drills = run.evidence["drills"]
    assert [drill["verdict"] for drill in drills] == ["recovered"] * 3
    assert len({drill["project"] for drill in drills}) == 3
    before_the_first_look = run.output.partition("is looked at again")[0]
    assert before_the_first_look.count(": verified ") == 3
    assert drill_projects() == set()
