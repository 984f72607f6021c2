"""A run that ends between a drill and its last checks: never green, and nothing is left."""

import signal
import time
from xml.etree import ElementTree

import pytest

from fixtures.plugin.interrupts import ENDING_MESSAGE
from tests.faults.test_kill import remove

UNLOOKED = "stays up: the run ended before the service was looked at again"
AGAIN = " again in "
PATIENT = ("-p", "tests.faults.patient")


def test_a_killed_run_has_the_drill_as_not_verified(start):
    killed = start(*PATIENT)
    killed.read_until(": verified ")
    time.sleep(0.5)
    killed.hurt(signal.SIGKILL)
    killed.finish()
    (drill,) = killed.evidence["drills"]
    assert (drill["verdict"], drill["reason"]) == ("not verified", UNLOOKED)
    assert drill["rto"], "what was measured is reported"


def test_an_interrupted_run_has_each_as_not_verified(start, drill_projects, directories):
    """Also drills whose turn to be checked again had not come; a second signal is answered."""
    run = start(*PATIENT, "--keep", drill="mosquitto and (tarball or snapshot)")
    run.read_until(AGAIN)
    before_the_first = run.output.partition(AGAIN)[0]
    run.hurt(signal.SIGTERM)
    time.sleep(0.2)
    run.hurt(signal.SIGINT)
    run.read_until(ENDING_MESSAGE)
    assert run.finish() == pytest.ExitCode.INTERRUPTED, run.output
    assert before_the_first.count(": verified ") == 3, "they do not wait for each other"
    evidence = run.evidence
    found = [(drill["verdict"], drill["reason"]) for drill in evidence["drills"]]
    assert found == [("not verified", UNLOOKED)] * 3
    assert len({drill["project"] for drill in evidence["drills"]}) == 3
    (suite,) = ElementTree.parse(next(run.reports.glob("*/junit.xml"))).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "3")
    assert evidence["interrupted"] and evidence["finished"]
    assert evidence["cleanup"]["left"] == []
    assert evidence["cleanup"]["kept"] == [], "what was interrupted has not failed"
    assert "verdict of the run: not verified" in run.output
    assert drill_projects() == set()
    assert directories() == []


@pytest.mark.parametrize("moment", ["teardown", "removal", "report"])
def test_an_interruption_while_a_drill_ends(start, drill_projects, directories, moment):
    settings = {"environment": {"INTERRUPTED": moment}}
    plugins = ["-p", "tests.faults.interrupted_late"]
    if moment == "report":
        plugins += ["-p", "tests.faults.killed_after"]
    run = start(*plugins, drill="mosquitto and snapshot", **settings)
    assert run.finish() == pytest.ExitCode.INTERRUPTED, run.output
    evidence = run.evidence
    assert evidence["interrupted"] and evidence["finished"]
    verdicts = [drill["verdict"] for drill in evidence["drills"]]
    # What was checked is reported; of a test in its teardown nothing has been reported.
    assert (
        verdicts == {"teardown": [], "removal": ["recovered"], "report": ["not recovered"]}[moment]
    )
    assert evidence["cleanup"]["left"] == evidence["errors"] == []
    assert drill_projects() == set()
    assert directories() == []


def test_a_service_that_dies_fails_its_test_in_a_worker_and_is_kept(start, server, drill_projects):
    plugin = ("-p", "tests.faults.killed_after")
    run = start("--keep", *plugin, "-n", "2", drill="snapshot and mosquitto")
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    (drill,) = run.evidence["drills"]
    assert drill["verdict"] == "not recovered"
    assert "did not stay up after it was healthy: its instance is Stopped" in drill["reason"]
    assert "1 failed" in run.output and "passed" not in run.output.splitlines()[-2]
    (kept,) = drill_projects()
    assert run.evidence["cleanup"]["kept"] == [kept]
    view = server.for_project(kept)
    assert view.exists("instances", "mosquitto01"), "there is something to look at"
    remove(server, kept)
