"""kill -9 in each phase of a drill, then another run: no orphan, source unchanged, green."""

import signal

import pytest

from fixtures.clock import NotYet, wait_until
from fixtures.incus.guard import OwnServerPolicy
from fixtures.incus.inventory import digest_of, inventory
from fixtures.incus.project import empty

BEFORE = {
    "destroy": ": being prepared",
    "restore": ": destroy ",
    "start": ": restore ",
    "healthy": ": start ",
    "verified": ": healthy ",
}
"""Phase in which a run is killed -> what was printed last before it."""


def test_runs_that_are_killed_in_any_phase_are_cleaned_up_by_the_next(
    start, server, fleet, drill_projects
):
    source, orphans = inventory(server, fleet.source_project), set()
    for phase, printed in BEFORE.items():
        killed = start()
        killed.read_until(printed)
        if phase == "destroy":
            wait_for_project(drill_projects)
        killed.hurt(signal.SIGKILL)
        assert killed.finish() == -signal.SIGKILL
        assert killed.evidence["finished"] is None, "a killed run must not look finished"
        left = drill_projects()
        assert left, f"the kill in {phase} came too late to leave anything behind"
        assert not left & orphans, "what the last one left was cleaned up by this one"
        orphans = left

    # Each once, whichever of its two workers was faster.
    last = start("-n", "2", drill="snapshot and (prometheus or mosquitto)")
    assert last.finish() == 0, last.output
    evidence = last.evidence
    assert len(evidence["cleanup"]["reaped"]) == len(set(evidence["cleanup"]["reaped"]))
    reaped = set(evidence["cleanup"]["reaped"])
    directories = {name for name in reaped if name.startswith("directory ")}
    assert reaped - directories == orphans
    assert directories, "from its first backup on, a killed run had a directory for exports"
    assert drill_projects() == set()
    assert inventory(server, fleet.source_project) == source
    assert evidence["source"]["before"] == evidence["source"]["after"] == digest_of(source)
    assert evidence["cleanup"]["left"] == evidence["errors"] == []
    assert {drill["verdict"] for drill in evidence["drills"]} == {"recovered"}
    assert {drill["service"] for drill in evidence["drills"]} == {"prometheus", "mosquitto"}
    assert len({drill["project"] for drill in evidence["drills"]}) == 2
    assert evidence["incus"]["version"]
    assert "verdict of the run: recovered" in last.output
    assert ": verified " in last.output, "the workers' progress is printed by the controller"


def wait_for_project(drill_projects):
    """Wait until the run has made its project."""

    def has_project():
        if not drill_projects():
            raise NotYet("the run made no project")

    wait_until(has_project, label="project of the run", timeout=60)


def test_a_living_run_is_not_reaped(start):
    first = start()
    first.read_until(": destroy ")
    second = start(drill="snapshot and mosquitto")
    assert second.finish() == 0, second.output
    assert second.evidence["cleanup"]["reaped"] == []
    assert first.finish() == 0, first.output


def test_keep_leaves_the_project_of_a_failed_drill_and_says_how_to_remove_it(
    start, server, drill_projects
):
    run = start("--keep", "-p", "tests.faults.spoil")
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    (kept,) = drill_projects()
    assert f"remove it with: incus project delete --force {kept}" in run.output
    assert run.evidence["cleanup"]["kept"] == [kept]
    view = server.for_project(kept)
    assert view.exists("instances", "prometheus01"), "there is something to look at"

    other = start()
    assert other.finish() == 0, other.output
    assert drill_projects() == {kept}, "what is kept is not reaped"
    remove(server, kept)


def test_a_project_that_cannot_be_marked_is_kept_and_the_drill_recorded(
    start, server, drill_projects
):
    run = start("--keep", "-p", "tests.faults.spoil", "-p", "tests.faults.unmarkable")
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    (kept,) = drill_projects()
    assert run.evidence["cleanup"]["kept"] == [kept]
    assert [drill["service"] for drill in run.evidence["drills"]] == ["prometheus"]
    (error,) = run.evidence["errors"]
    assert f"{kept} is not marked as kept" in error
    remove(server, kept)


def remove(server, project):
    """Do what the printed command does."""
    owner = type(server)(server.endpoint, OwnServerPolicy(server.endpoint))
    assert empty(owner.for_project(project)) == []
    owner.delete("projects", project)
