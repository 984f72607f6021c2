"""Who uses a lab: the last of its runs takes it down, and no run in another lab counts."""

import errno
import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from fixtures.errors import LabError
from fixtures.incus import project
from fixtures.lab.lab import Lab
from fixtures.plugin import target
from fixtures.plugin.options import Run


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with labs and locks of its own; returns where the first lab is kept."""
    monkeypatch.setattr(project, "LOCKS", tmp_path / "locks")
    monkeypatch.setenv("ATLAS_DRILLS_STATE", str(tmp_path / "one"))
    return tmp_path / "one"


@pytest.fixture
def asked(monkeypatch):
    """Each answer to `down`, asked twice, where it is brought up by hand between the two."""
    found = []

    def down(lab, only_if):
        found.append((lab.state_dir, only_if()))
        (lab.state_dir / target.OWNED_BY_RUNS).unlink()
        found.append((lab.state_dir, only_if()))

    monkeypatch.setattr(Lab, "down", down)
    return found


@contextmanager
def alive(run, where, monkeypatch):
    """A run that lives, in a lab that runs have brought up."""
    with project.run_lock(run), monkeypatch.context() as patch:
        patch.setenv("ATLAS_DRILLS_STATE", str(where))
        lab = Lab()
        target.enter(lab, run)
        lab.state_dir.mkdir(exist_ok=True)
        (lab.state_dir / target.OWNED_BY_RUNS).touch()
        yield


def test_the_last_run_takes_the_lab_down_unless_it_is_brought_up_by_hand_just_then(
    machine, monkeypatch, asked, tmp_path
):
    """A run that was killed, and one in another lab, keep nothing; `up` holds the lab's lock."""
    with alive("killed", machine, monkeypatch):
        pass
    with alive("elsewhere", tmp_path / "two", monkeypatch), alive("a", machine, monkeypatch):
        with alive("b", machine, monkeypatch):
            target.let_go("a")
            assert asked == []
        target.let_go("b")
    assert asked == [(machine / "lab", True), (machine / "lab", False)]
    assert list(machine.glob(".lab.runs/*")) == []


@pytest.mark.parametrize("run, is_by_hand", [("a", True), ("never used it", False)])
def test_a_lab_by_hand_or_of_others_stays(machine, monkeypatch, asked, run, is_by_hand):
    with alive("a", machine, monkeypatch):
        if is_by_hand:
            (machine / "lab" / target.OWNED_BY_RUNS).unlink()
            target.let_go(run)
    target.let_go(run)
    assert asked == []


def test_a_process_that_was_interrupted_in_the_lock_can_take_the_lab_down():
    interrupted = Lab().locked()
    interrupted.__enter__()
    with Lab().locked():
        pass
    interrupted.__exit__(None, None, None)


def test_a_place_where_labs_cannot_be_kept_is_named(machine, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATLAS_DRILLS_STATE", str(tmp_path / "file"))
    with pytest.raises(LabError, match=r"file/\.lab\.runs cannot be written: Not a directory"):
        target.enter(Lab(), "a")
    with pytest.raises(LabError, match="file cannot be written: File exists"), Lab().locked():
        pass
    monkeypatch.setenv("ATLAS_DRILLS_STATE", str(tmp_path))
    with pytest.raises(LabError, match="disk.img: No space left on device"), Lab().locked():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "disk.img")


def test_what_is_built_can_be_entered_by_containers_whatever_the_umask(machine):
    before = os.umask(0o077)
    try:
        with Lab().locked():
            (machine / "built").mkdir()
        assert os.umask(0o077) == 0o077, "it is the operator's again"
    finally:
        os.umask(before)
    assert machine.joinpath("built").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "name, typed",
    [
        ("lab", "./run lab incus project delete --force drill-x"),
        ("unix", "incus project delete --force drill-x"),
        ("far", "incus project delete --force far:drill-x"),
    ],
)
def test_what_is_left_is_removed_by_a_command_that_reaches_it(name, typed):
    called = Run.called.fget(SimpleNamespace(target=name))
    assert project.DrillProject(None, "run", "drill-x", **called).finish == typed
