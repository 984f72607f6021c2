"""When a run is certainly dead, and when nothing is known of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import fixtures.incus.reaper as reaper
from fixtures.incus.guard import MARKER_KEY
from fixtures.incus.project import EXPIRES_KEY, HOST_KEY, host_id

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    monkeypatch.setattr(reaper, "LOCKS", tmp_path)
    return tmp_path


def config(host, expires=NOW + timedelta(hours=1)):
    return {MARKER_KEY: "run-1", HOST_KEY: host, EXPIRES_KEY: expires.isoformat()}


def test_a_run_that_holds_its_lock_lives():
    with reaper.run_lock("run-1"):
        assert not reaper.is_dead(config(host_id()), now=NOW)


def test_a_run_whose_lock_is_free_is_dead():
    with reaper.run_lock("run-1"):
        held = reaper.is_dead(config(host_id()), now=NOW)
    assert not held
    assert reaper.is_dead(config(host_id()), now=NOW)


def test_a_run_of_another_boot_of_this_machine_is_dead():
    name = host_id().split("/")[0]
    assert reaper.is_dead(config(f"{name}/another-boot"), now=NOW)


def test_of_another_machine_only_the_expiry_is_known():
    assert not reaper.is_dead(config("elsewhere/boot"), now=NOW)
    assert reaper.is_dead(config("elsewhere/boot", NOW - timedelta(seconds=1)), now=NOW)


@pytest.mark.parametrize("expires", ["", "soon"])
def test_what_cannot_be_known_is_left_alone(expires):
    marked = {MARKER_KEY: "run-1", HOST_KEY: "elsewhere/boot", EXPIRES_KEY: expires}
    assert not reaper.is_dead(marked, now=NOW)
