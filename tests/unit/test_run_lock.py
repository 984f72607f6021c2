"""When a run is certainly dead, and when nothing is known of it."""

from datetime import UTC, datetime, timedelta

import filelock
import pytest

from fixtures.errors import CouldNotLook
from fixtures.incus import project
from fixtures.incus.guard import MARKER_KEY
from fixtures.incus.project import EXPIRES_KEY, HOST_KEY, host_id

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LATER, EARLIER = (NOW + timedelta(hours=hours) for hours in (1, -1))


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "LOCKS", tmp_path)


def is_dead(host, expires=LATER):
    expiry = expires if isinstance(expires, str) else expires.isoformat()
    config = {MARKER_KEY: "run-1", HOST_KEY: host, EXPIRES_KEY: expiry}
    return project.is_dead(config, now=NOW)


def test_a_run_lives_as_long_as_its_lock_is_held():
    with project.run_lock("run-1"):
        assert not is_dead(host_id())
    assert is_dead(host_id())


def test_who_has_waited_for_long_enough_goes_on_and_says_who_did_not(monkeypatch):
    """A run that is stopped by Ctrl-Z while it reaps held up every later run for ever."""
    monkeypatch.setattr(project, "REAPING_SECONDS", 0)
    with project.run_lock(project.REAPING):
        # Nothing is asked of Incus without the lock.
        (fault,) = project.reap(None, None).faults
        assert "another run on this machine has held" in fault and "fuser -v" in fault
        with (
            pytest.raises(CouldNotLook, match="nothing was made"),
            project.turn(project.REAPING, "nothing was made", 0),
        ):
            raise AssertionError
    with project.turn(project.REAPING, "", 0), pytest.raises(filelock.Timeout):
        project.run_lock(project.REAPING).acquire()


def test_a_run_from_before_the_reboot_is_dead():
    machine, _, locks = host_id().split("/")
    assert is_dead(f"{machine}/another-boot/{locks}")
    assert is_dead(f"{machine}/another-boot/")


def test_a_clone_of_this_machine_is_another_one(tmp_path, monkeypatch):
    machine, boot, locks = host_id().split("/")
    (tmp_path / "machine-id").write_text("of a clone\n")
    monkeypatch.setattr(project, "MACHINE", (tmp_path / "machine-id", tmp_path / "none"))
    assert host_id().split("/")[0] != machine
    assert host_id().split("/")[1:] == [boot, locks]
    assert not is_dead(f"{machine}/another-boot/{locks}")


def test_of_a_run_with_locks_elsewhere_only_the_expiry_is_known(tmp_path, monkeypatch):
    """In a container of this machine the boot is the same, but /run is not."""
    (tmp_path / "elsewhere").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(project, "LOCKS", tmp_path / "elsewhere")
        theirs = host_id()
    machine, boot, _ = theirs.split("/")
    for host in (theirs, f"{machine}/{boot}/", f"{machine}/{boot}", "elsewhere/boot/1-2"):
        assert not is_dead(host)
        assert is_dead(host, EARLIER)
        assert not any(is_dead(host, unknown) for unknown in ("", "soon"))


def test_runs_of_another_user_than_root_hold_locks_too(monkeypatch):
    monkeypatch.delenv("ATLAS_DRILLS_RUNTIME", raising=False)
    monkeypatch.setattr(project.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert str(project._locks()) == "/run/user/1000/atlas-drills-1000"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert project._locks().name == "atlas-drills-1000"
    monkeypatch.setenv("ATLAS_DRILLS_RUNTIME", "/given")
    assert str(project._locks()) == "/given"
