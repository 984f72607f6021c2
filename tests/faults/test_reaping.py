"""Several runs reap at the same time: those that begin together, and another machine's."""

import pytest

import fixtures.incus.project as reaper
from fixtures.errors import CleanupFailed
from fixtures.incus.client import Incus
from fixtures.incus.guard import DrillPolicy
from fixtures.incus.project import DrillProject

DEAD = "20260101-000000-dead"
NAME = f"drill-{DEAD}"


@pytest.fixture
def orphan(server, fleet):
    """What a dead run has left."""
    project = DrillProject(Incus(server.endpoint, DrillPolicy(DEAD)), DEAD, NAME)
    project.create(fleet.pool)
    yield project
    project.delete()


def reaped_by_another_run(server):
    policy = DrillPolicy("20260102-000000-alive")
    return reaper.reap(Incus(server.endpoint, policy), policy)


def test_a_project_that_another_machine_has_reaped_first_is_no_fault(server, orphan, monkeypatch):
    delete = DrillProject.delete

    def too_late(project):
        delete(project)
        raise CleanupFailed(f"delete project {project.name}: it does not exist")

    monkeypatch.setattr(DrillProject, "delete", too_late)
    reaped = reaped_by_another_run(server)
    monkeypatch.undo()
    assert (reaped.removed, reaped.faults) == ([], [])
    assert not orphan.exists()


def test_a_project_that_cannot_be_removed_is_reported_and_the_others_go(
    server, orphan, monkeypatch
):
    def refused(project):
        raise CleanupFailed(f"project {project.name} is left behind: planted")

    monkeypatch.setattr(DrillProject, "delete", refused)
    reaped = reaped_by_another_run(server)
    monkeypatch.undo()
    assert reaped.removed == []
    assert reaped.faults == [f"project {NAME} is left behind: planted"]


def test_a_project_that_was_kept_while_others_were_reaped_stays(server, orphan, monkeypatch):
    """Its run was alive when the projects were listed, and ended with `--keep` since."""
    is_dead = reaper.is_dead

    def kept_first(config, *, now):
        orphan.keep()
        return is_dead(config, now=now)

    monkeypatch.setattr(reaper, "is_dead", kept_first)
    reaped = reaped_by_another_run(server)
    assert (reaped.removed, reaped.kept, reaped.faults) == ([], [NAME], [])
    assert orphan.exists()
