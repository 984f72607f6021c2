"""What Incus 6.0 (Debian 13 has it) does otherwise than 7.0; a lab of its own, with that Incus.

Needs root and Linux.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace

import pytest

from fixtures.errors import IncusError
from fixtures.incus import client
from fixtures.incus.client import Incus, told
from fixtures.incus.guard import DrillPolicy
from fixtures.incus.instance import Instance
from fixtures.incus.project import DrillProject
from fixtures.incus.volumes import Volume
from fixtures.lab import settings
from fixtures.lab.lab import Lab

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="the lab needs root on Linux: it makes namespaces, mounts and loop devices",
)
RUN = "20260101-000000-six"


@pytest.fixture(scope="module", params=settings.INCUS_VERSIONS)
def lab(request, tmp_path_factory):
    state = tmp_path_factory.mktemp("s")
    chosen = {"incus": request.param, "images": ("mosquitto",), "tofu": False}
    config = replace(settings.from_environment(), state=state, **chosen)
    made = Lab(f"six-{os.getpid()}", config=config)
    made.up()
    yield made
    made.down()


@pytest.fixture
def room(lab):
    project = DrillProject(Incus(str(lab.socket), DrillPolicy(RUN)), RUN, f"drill-{RUN}")
    yield project.create("local")
    project.delete()


@pytest.fixture
def volume(room):
    """With 100 MB in it that no compressor makes smaller."""
    made = Volume(room, "local", "filled")
    made.create({})
    writer = Instance(room, "writer")
    data = {"type": "disk", "pool": "local", "source": "filled", "path": "/srv"}
    writer.create("mosquitto", {"data": data}, {})
    writer.start()
    writer.must_exec(["sh", "-c", "head -c 100000000 /dev/urandom >/srv/random"], timeout=60)
    writer.remove()
    return made


def left_on_the_server(lab):
    """Files of backups on the server."""
    return [path for path in lab.state_dir.glob("lib/backups/**/*") if path.is_file()]


def test_an_operation_may_take_longer_than_one_wait(lab, volume, monkeypatch):
    monkeypatch.setattr(client, "WAIT_SECONDS", 1.0)
    waits = []
    asked = Incus._waited
    monkeypatch.setattr(Incus, "_waited", lambda *a: waits.append(a) or asked(*a))
    volume._export_direct = lambda order: volume._export_by_server_file(order)
    size = sum(len(chunk) for chunk in volume.export("gzip"))
    assert size > 100_000_000
    assert len(waits) > 2
    assert left_on_the_server(lab) == []


def test_an_operation_that_outlasts_its_whole_budget_is_told(room, volume, monkeypatch):
    monkeypatch.setattr(client, "WAIT_SECONDS", 1.0)
    order = {"name": "slow", "volume_only": True, "compression_algorithm": "gzip"}
    begun = volume._node.backups.post(json=order)
    with pytest.raises(IncusError, match="export: .*: still Running after 1 s"), told("export"):
        room.wait(begun, timeout=1)
    assert room.wait(begun)["status"] == "Success"
    room.wait(volume._node.backups["slow"].delete())


def test_an_export_that_fails_leaves_nothing_on_the_server(lab, volume, monkeypatch):
    order = {"volume_only": True, "compression_algorithm": "gzip"}
    wait, begun = Incus.wait, []

    def impatient(incus, response, **_):
        monkeypatch.setattr(Incus, "wait", wait)
        begun.append(response)
        return wait(incus, response, timeout=1)

    monkeypatch.setattr(Incus, "wait", impatient)
    with pytest.raises(IncusError, match="still Running after 1 s"), told("export"):
        list(volume._export_by_server_file(order))
    assert left_on_the_server(lab) == []
    with contextlib.suppress(IncusError), told("wait for what goes on at the server"):
        volume.incus.wait(begun[0])
    assert left_on_the_server(lab) == []
    assert volume._node.backups.get().json()["metadata"] == []


def test_an_export_that_nobody_reads_to_its_end_leaves_nothing_on_the_server(lab, volume):
    export = volume._export_by_server_file({"volume_only": True, "compression_algorithm": "none"})
    assert next(export)
    export.close()
    assert left_on_the_server(lab) == []


def test_what_a_dead_run_was_exporting_is_gone_with_its_project(lab, room, volume):
    room.wait(volume._node.backups.post(json={"name": "export-dead", "volume_only": True}))
    assert left_on_the_server(lab) != []
    volume.remove()
    assert left_on_the_server(lab) == []
