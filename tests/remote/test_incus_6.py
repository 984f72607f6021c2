"""What Incus 6.0 (Debian 13 has it) does otherwise than 7.0."""

import contextlib

import pytest

from fixtures.errors import IncusError
from fixtures.incus import client
from fixtures.incus.client import Incus, translate_errors
from fixtures.incus.guard import DrillPolicy
from fixtures.incus.instance import Instance
from fixtures.incus.project import DrillProject
from fixtures.incus.volumes import Volume

RUN = "20260101-000000-six"

pytestmark = pytest.mark.parametrize("far", ["6.0"], indirect=True, scope="session")


@pytest.fixture(scope="module")
def volume(far):
    """A volume with 100 MB of random data, exported by a file on the server."""
    project = DrillProject(Incus(str(far.lab.socket), DrillPolicy(RUN)), RUN, f"drill-{RUN}")
    room = project.create("local")
    made = Volume(room, "local", "filled")
    made.create({})
    writer = Instance(room, "writer")
    data = {"type": "disk", "pool": "local", "source": "filled", "path": "/srv"}
    writer.create("mosquitto", {"data": data}, {})
    writer.start()
    writer.must_exec(["sh", "-c", "head -c 100000000 /dev/urandom >/srv/random"], timeout=60)
    writer.remove()
    assert not room.has("direct_backup")
    yield made
    project.delete()


def left_on_the_server(far):
    """Files of backups on the server."""
    return [path for path in far.lab.state_dir.glob("lib/backups/**/*") if path.is_file()]


def test_an_operation_may_take_longer_than_one_wait(far, volume, monkeypatch):
    monkeypatch.setattr(client, "WAIT_SECONDS", 1.0)
    waits = []
    wait_piece = Incus._wait_piece
    monkeypatch.setattr(Incus, "_wait_piece", lambda *a: waits.append(a) or wait_piece(*a))
    size = sum(len(chunk) for chunk in volume.export("gzip"))
    assert size > 100_000_000
    assert len(waits) > 2
    assert left_on_the_server(far) == []


def test_an_export_that_fails_leaves_nothing_on_the_server(far, volume, monkeypatch):
    """It fails since its operation outlasts the whole budget; the server goes on with it."""
    monkeypatch.setattr(client, "WAIT_SECONDS", 1.0)
    wait, begun = Incus._wait, []

    def impatient(incus, operation, timeout):
        monkeypatch.setattr(Incus, "_wait", wait)
        begun.append(operation)
        return wait(incus, operation, 1)

    monkeypatch.setattr(Incus, "_wait", impatient)
    with pytest.raises(IncusError, match="export volume filled .*: still Running after 1 s"):
        list(volume.export("gzip"))
    assert left_on_the_server(far) == []
    with contextlib.suppress(IncusError), translate_errors("wait for what goes on at the server"):
        volume.incus._wait(begun[0], 600)
    assert left_on_the_server(far) == []
    assert volume.incus.get_list(*volume._path, "backups") == []


def test_an_export_that_is_not_read_to_its_end_leaves_nothing_on_the_server(far, volume):
    export = volume.export("none")
    assert next(export)
    export.close()
    assert left_on_the_server(far) == []


def test_what_a_dead_run_was_exporting_is_gone_with_its_project(far, volume):
    volume.incus.post(*volume._path, "backups", body={"name": "export-dead", "volume_only": True})
    assert left_on_the_server(far) != []
    volume.remove()
    assert left_on_the_server(far) == []
