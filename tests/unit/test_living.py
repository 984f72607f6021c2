"""When a run is certainly dead, and when nothing is known of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import fixtures.incus.run_lock as living
from fixtures.incus.guard import MARKER_KEY
from fixtures.incus.run_lock import EXPIRES_KEY, HOST_KEY, host_id

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    monkeypatch.setattr(living, "LOCKS", tmp_path)
    return tmp_path


def config(host, expires=NOW + timedelta(hours=1)):
    return {MARKER_KEY: "run-1", HOST_KEY: host, EXPIRES_KEY: expires.isoformat()}


def test_a_run_that_holds_its_lock_lives():
    with living.run_lock("run-1"):
        assert not living.is_dead(config(host_id()), now=NOW)


def test_a_run_whose_lock_is_free_is_dead():
    with living.run_lock("run-1"):
        held = living.is_dead(config(host_id()), now=NOW)
    assert not held
    assert living.is_dead(config(host_id()), now=NOW)


def test_a_run_of_another_boot_of_this_machine_is_dead():
    machine, _, locks = host_id().split("/")
    assert living.is_dead(config(f"{machine}/another-boot/{locks}"), now=NOW)
    assert living.is_dead(config(f"{machine}/another-boot/"), now=NOW)


def test_a_machine_of_the_same_name_is_another_one(tmp_path, monkeypatch):
    _, boot, locks = mine = host_id().split("/")
    (tmp_path / "machine-id").write_text("of a clone\n")
    monkeypatch.setattr(living, "MACHINE", (tmp_path / "machine-id", tmp_path / "none"))
    assert host_id().split("/") != mine
    assert host_id().split("/")[1:] == [boot, locks]
    assert not living.is_dead(config(f"{mine[0]}/another-boot/{locks}"), now=NOW)


def test_of_a_run_with_locks_elsewhere_only_the_expiry_is_known(tmp_path, monkeypatch):
    """As in a container of this machine: the boot is the same, /run is not."""
    (tmp_path / "elsewhere").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(living, "LOCKS", tmp_path / "elsewhere")
        theirs = host_id()
    machine, boot, _ = theirs.split("/")
    for host in (theirs, f"{machine}/{boot}/", f"{machine}/{boot}"):
        assert not living.is_dead(config(host), now=NOW)
        assert living.is_dead(config(host, NOW - timedelta(seconds=1)), now=NOW)


def test_runs_of_who_is_not_root_hold_a_lock_too(monkeypatch):
    monkeypatch.delenv("ATLAS_DRILLS_RUNTIME", raising=False)
    monkeypatch.setattr(living.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert str(living._locks()) == "/run/user/1000/atlas-drills-1000"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert living._locks().name == "atlas-drills-1000"
    monkeypatch.setenv("ATLAS_DRILLS_RUNTIME", "/given")
    assert str(living._locks()) == "/given"


def test_of_another_machine_only_the_expiry_is_known():
    assert not living.is_dead(config("elsewhere/boot/1-2"), now=NOW)
    assert living.is_dead(config("elsewhere/boot/1-2", NOW - timedelta(seconds=1)), now=NOW)


@pytest.mark.parametrize("expires", ["", "soon"])
def test_what_cannot_be_known_is_left_alone(expires):
    marked = {MARKER_KEY: "run-1", HOST_KEY: "elsewhere/boot/1-2", EXPIRES_KEY: expires}
    assert not living.is_dead(marked, now=NOW)
