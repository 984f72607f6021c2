"""A pool that is nearly full, on a real Incus: production goes on writing, the drill is refused."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy
from fixtures.incus.instance import Instance
from fixtures.incus.inventory import inventory
from fixtures.incus.volumes import GIB, Volume, read_space
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
WRITER = """
ok=0; bad=0
while [ ! -e /run/stop ]; do
  if head -c 65536 /dev/urandom >/mosquitto/data/written && sync -f /mosquitto/data/written
  then ok=$((ok+1)); else bad=$((bad+1)); fi
  sleep 0.05
done
echo "$ok $bad" >/run/counted; mv /run/counted /run/count
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
def writer(source):
    """A program writes in the broker all the time; ends it and counts (written, failed)."""
    instance = Instance(source[0], f"{BROKER}01")
    instance.must_exec(["rm", "-f", "/run/stop", "/run/count"])
    instance.must_exec(["sh", "-c", f"nohup sh -c '{WRITER}' >/dev/null 2>&1 &"])

    def count():
        instance.must_exec(["touch", "/run/stop"])
        ended = "until [ -e /run/count ]; do sleep 0.1; done; cat /run/count"
        return tuple(map(int, instance.must_exec(["sh", "-c", ended]).split()))

    yield count
    count()


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


def test_no_write_of_production_fails(source, server, writer, leave, tmp_path):
    before = inventory(server, SOURCE)
    leave(int(1.5 * GIB))
    text, (drill,) = drilled(server, source[1], tmp_path)
    ok, bad = writer()
    assert ok > 20 and bad == 0, f"{ok}, {bad}: {text}"
    assert drill["verdict"] == "not verified", text
    assert drill["reason"].startswith(f"not enough room for the import of {BROKER}"), text
    short = f"needs 1.0 GiB, pool {POOL} has 1.5 GiB free, of which 2.0 GiB stay"
    assert short in drill["reason"]
    assert inventory(server, SOURCE) == before
