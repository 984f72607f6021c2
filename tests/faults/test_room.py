"""A pool that is nearly full: a drill writes nothing there that production would be short of."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fixtures.errors import CouldNotLook, NotAllowed
from fixtures.incus import volumes
from fixtures.incus.volumes import GIB, Volume, give_back, kept_free, read_space, room_for
from fixtures.recovery.service import ServiceUnderDrill

SERVER = SimpleNamespace(server={"environment": {}}, endpoint="/run/test-room")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A pool of 10 GiB of which 8 GiB are free, and no locks of other runs."""
    monkeypatch.setattr("fixtures.incus.project.LOCKS", tmp_path)
    monkeypatch.setattr(volumes, "LOCKS", tmp_path)
    monkeypatch.setattr(volumes, "read_space", lambda *_: (8 * GIB, 10 * GIB))
    yield tmp_path
    give_back(time.monotonic())


def test_what_is_spoken_for_is_given_back(small):
    with room_for(SERVER, "pool", 4 * GIB, "one"):
        refused = pytest.raises(
            CouldNotLook, match=r"needs 4.0 GiB, pool pool has 8.0 GiB free, of"
        )
        with refused, room_for(SERVER, "pool", 4 * GIB, "another"):
            raise AssertionError
        with pytest.raises(ZeroDivisionError), room_for(SERVER, "pool", 0, "a third"):
            raise ZeroDivisionError
        with room_for(SERVER, "another pool", 4 * GIB, "elsewhere"):
            pass
    give_back(time.monotonic())
    with room_for(SERVER, "pool", 5 * GIB, "another"):
        (held,) = small.glob(f"room-*-{5 * GIB}-*")
    # Of a run that was killed, the file stays, and no lock on it.
    dead = small / f"room-{held.name.split('-')[1]}-{8 * GIB}-dead.lock"
    dead.touch()
    give_back(time.monotonic())
    with room_for(SERVER, "pool", 5 * GIB, "after it"):
        assert not dead.exists()
    give_back(time.monotonic())
    assert not list(small.glob("room-*"))


def test_room_that_may_not_be_read_is_no_room(small, monkeypatch):
    def forbidden(*args):
        raise NotAllowed("read how much room pool small has: User does not have permission")

    monkeypatch.setattr(volumes, "read_space", forbidden)
    refused = pytest.raises(CouldNotLook, match="nothing was made for a test")
    with refused, room_for(SERVER, "pool", 1, "a test"):
        raise AssertionError


@pytest.mark.parametrize("total, kept", [(8, 2), (100, 5), (10_000, 32)])
def test_a_share_of_the_pool_stays_free(total, kept):
    assert kept_free(total * GIB) == kept * GIB


def test_a_full_pool_ends_every_import_before_it_begins(make_service, monkeypatch):
    """Whatever is imported or copied asks first: nothing is made, and nothing taken away for it."""
    _, service = make_service("mosquitto", "tarball")
    service.deploy()
    backup = service.back_up("tarball")
    free, total = read_space(service.incus, service.volume.pool)
    assert 0 < free < total
    monkeypatch.setattr(volumes, "read_space", lambda *_: (GIB, 10 * GIB))
    made_at = service.volume.created_at()
    for verb in (service.replace_volume, service.import_as_new_volume, service.import_tarball):
        with pytest.raises(CouldNotLook, match="not enough room for the import"):
            verb(backup)
        assert service.spec.volumes[0].name == service.volume.name.removesuffix("-restored")
    assert service.volume.sibling(service.spec.volumes[0].name).created_at() == made_at
    with pytest.raises(CouldNotLook, match="not enough room for a new volume"):
        ServiceUnderDrill.rebuild(service)
    # A pool of driver dir copies whole, and does not count what a volume has.
    monkeypatch.setattr(Volume, "driver", lambda _: "dir")
    monkeypatch.setattr(Volume, "used_bytes", lambda _: None)
    monkeypatch.setattr(volumes, "read_space", lambda *_: (5 * GIB, 10 * GIB))
    with pytest.raises(CouldNotLook, match=r"the copy of snapshot .*: needs 6\.0 GiB"):
        service.copy_snapshot(replace(backup, name="s"), service.incus.project, "grown")
