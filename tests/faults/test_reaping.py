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


@pytest.mark.parametrize(("is_gone", "faults"), [(True, []), (False, ["planted"])])
def test_only_a_project_that_is_still_there_is_a_fault(
    server, orphan, monkeypatch, is_gone, faults
):
    """Another machine may have reaped it first."""
    delete = DrillProject.delete

    def fail(project):
        if is_gone:
            delete(project)
        raise CleanupFailed("planted")

    monkeypatch.setattr(DrillProject, "delete", fail)
    reaped = reaped_by_another_run(server)
    monkeypatch.undo()
    assert (reaped.removed, reaped.faults) == ([], faults)
    assert orphan.exists() is not is_gone


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
