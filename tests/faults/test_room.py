"""A pool that is nearly full: a drill writes nothing there that production would be short of."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.errors import CouldNotLook, NotAllowed
from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy
from fixtures.incus.instance import Instance
from fixtures.incus.inventory import inventory
from fixtures.incus.project import LOCKS
from fixtures.incus.volumes import (
    GIB,
    Volume,
    give_back,
    kept_free,
    read_space,
    room_for,
)
from fixtures.recovery.service import ServiceUnderDrill
from fixtures.services.mosquitto import connected

ROOT = Path(__file__).resolve().parents[2]
SOURCE, BROKER = "short-of-room", "broker-a"
POOL = f"small-{os.getpid()}"
"""Labs have one certificate: others would reserve room on a pool of the same name."""
SPARSE = GIB
FLEET = f"""
name: short
pool: {POOL}
source_project: {SOURCE}
services:
  - name: {BROKER}
    kind: mosquitto
    instance: {BROKER}01
    unit: mosquitto
    provision: copy
    criticality: low
    volumes:
      - name: {BROKER}01-data
        path: /mosquitto/data
        size: 5GB
        owner: {{user: mosquitto, uid: 100, group: mosquitto, gid: 101}}
        mode: "0750"
    ports: [{{port: 1883}}]
    health: {{protocol: mqtt, port: 1883}}
    expect: {{retained messages: 1}}
    backups:
      tarball: {{consistency: stop, compression: zstd, why: a test}}
"""


@pytest.fixture(scope="module")
def server(drill_project):
    """The lab's own server, with every right."""
    return Incus(drill_project.endpoint, OwnServerPolicy(drill_project.endpoint))


@pytest.fixture(scope="module")
def source(server, tmp_path_factory):
    """A broker on a pool of 10 GiB, and a tarball of it with a sparse file of 1 GiB."""
    pool = {"name": POOL, "driver": "btrfs", "config": {"size": "10GiB"}}
    server.post("storage-pools", body=pool)
    features = {f"features.{f}": "true" for f in ("profiles", "storage.volumes")}
    config = {**features, "features.images": "false"}
    server.post("projects", body={"name": SOURCE, "config": config})
    view, files = server.for_project(SOURCE), tmp_path_factory.mktemp("tarballs")
    root = {"root": {"type": "disk", "path": "/", "pool": POOL}}
    profile = {"description": "", "config": {}, "devices": root}
    view.put("profiles", "default", body=profile)
    try:
        _make_broker(view, BROKER, files)
        yield view, files
    finally:
        server.delete("projects", SOURCE, force="true")
        for image in server.get_list("images"):
            cached = ("storage-pools", POOL, "volumes", "image", image["fingerprint"])
            if server.exists(*cached):
                server.delete(*cached)
        server.delete("storage-pools", POOL)


def _make_broker(view, name, files):
    data, instance = Volume(view, POOL, f"{name}01-data"), Instance(view, f"{name}01")
    data.create({"initial.uid": "100", "initial.gid": "101", "initial.mode": "0750"})
    device = {"type": "disk", "pool": POOL, "source": data.name, "path": "/mosquitto/data"}
    instance.create("mosquitto", {"data": device}, {})
    instance.start()
    instance.wait_until_usable()
    instance.must_exec(["sh", "-c", "until systemctl is-active mosquitto; do sleep 0.1; done"])
    with connected(lambda: instance.dial(1883, patience=10)) as client:
        client.publish("atlas/kept", b"kept", 1, retain=True)
    instance.must_exec(["systemctl", "stop", "mosquitto"])
    sparse = f"truncate -s {SPARSE} /mosquitto/data/sparse; chown 100:101 /mosquitto/data/sparse"
    instance.must_exec(["sh", "-c", sparse])
    with (files / f"{data.name}-today.tar.zst").open("wb") as file:
        file.writelines(data.export("zstd"))
    instance.must_exec(["sh", "-c", "rm /mosquitto/data/sparse; systemctl start mosquitto"])


@pytest.fixture
def leave(source, server):
    """Fills the pool until so many bytes are free; emptied again afterwards."""
    view, _ = source
    first = Instance(view, f"{BROKER}01")

    def fill(wanted):
        first.must_exec(["sync"])
        free, _ = read_space(server, POOL)
        first.must_exec(["fallocate", "-l", str(free - wanted), "/root/filler"])
        first.must_exec(["sync"])
        assert abs(read_space(server, POOL)[0] - wanted) < GIB / 8

    yield fill
    first.must_exec(["rm", "-f", "/root/filler"])
    first.must_exec(["sync"])
    deadline = time.monotonic() + 60
    while read_space(server, POOL)[0] < 7 * GIB and time.monotonic() < deadline:
        time.sleep(0.5)


def drilled(server, files, tmp_path):
    """A run of the drills of existing tarballs: (what pytest did, its evidence)."""
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "drills", "--incus=unix", f"--fleet={fleet}"]
        + ["-m", "existing and tarball", f"--backups={files}", "-p", "no:cacheprovider"]
        + [f"--reports={tmp_path}/reports", "-p", "tests.faults.brief"],
        cwd=ROOT,
        env={**os.environ, "INCUS_SOCKET": str(server.endpoint)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    (evidence,) = (tmp_path / "reports").glob("*/evidence.json")
    return done.stdout + done.stderr, json.loads(evidence.read_text())["drills"]


def test_nothing_is_written_to_a_pool_that_production_fills(source, server, leave, tmp_path):
    before = inventory(server, SOURCE)
    leave(int(1.5 * GIB))
    text, (drill,) = drilled(server, source[1], tmp_path)
    assert drill["verdict"] == "not verified", text
    assert drill["reason"].startswith(f"not enough room for the import of {BROKER}"), text
    short = f"needs 1.0 GiB, pool {POOL} has 1.5 GiB free, of which 2.0 GiB stay"
    assert short in drill["reason"]
    assert inventory(server, SOURCE) == before


def test_what_is_spoken_for_is_given_back(server, source):
    free, _ = read_space(server, POOL)
    half = free // 2
    with room_for(server, POOL, half, "one"):
        refused = pytest.raises(CouldNotLook, match="other drills are writing")
        with refused, room_for(server, POOL, half, "another"):
            raise AssertionError
        with pytest.raises(ZeroDivisionError), room_for(server, POOL, 0, "a third"):
            raise ZeroDivisionError
    give_back(time.monotonic())
    with room_for(server, POOL, half, "another"):
        # There are files of other pools, too.
        (held,) = LOCKS.glob(f"room-*-{half}-*")
    # Of a run that was killed, the file stays, and no lock on it.
    key = held.name.split("-")[1]
    dead = LOCKS / f"room-{key}-{free}-dead.lock"
    dead.touch()
    give_back(time.monotonic())
    with room_for(server, POOL, half, "after it"):
        assert not dead.exists()
    give_back(time.monotonic())
    assert not list(LOCKS.glob(f"room-{key}-*"))


def test_room_that_may_not_be_read_is_no_room(server, source, monkeypatch):
    def forbidden(*args):
        raise NotAllowed("read how much room pool small has: User does not have permission")

    monkeypatch.setattr("fixtures.incus.volumes.read_space", forbidden)
    refused = pytest.raises(CouldNotLook, match="nothing was made for a test")
    with refused, room_for(server, POOL, 1, "a test"):
        raise AssertionError


@pytest.mark.parametrize("total, kept", [(8, 2), (100, 5), (10_000, 32)])
def test_a_share_of_the_pool_stays_free(total, kept):
    assert kept_free(total * GIB) == kept * GIB


def test_a_full_pool_ends_every_import_before_it_begins(make_service, monkeypatch):
    """Whatever is imported or copied asks first: nothing is made, and nothing taken away for it."""
    _, service = make_service("mosquitto", "tarball")
    service.deploy()
    backup = service.back_up("tarball")
    monkeypatch.setattr("fixtures.incus.volumes.read_space", lambda *_: (GIB, 10 * GIB))
    made_at = service.volume.created_at()
    for verb in (service.replace_volume, service.import_as_new_volume, service.import_tarball):
        with pytest.raises(CouldNotLook, match="not enough room for the import"):
            verb(backup)
        assert service.spec.volumes[0].name == service.volume.name.removesuffix("-restored")
    assert service.volume.sibling(service.spec.volumes[0].name).created_at() == made_at
    with pytest.raises(CouldNotLook, match="not enough room for a new volume"):
        ServiceUnderDrill.rebuild(service)
