"""A mistake, an unreachable server or a full pool is one clear message, not a traceback."""

import os
import re
import socket
import subprocess
import sys

import pytest

from fixtures.errors import CouldNotLook, IncusError
from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy
from fixtures.incus.volumes import Volume, must_have_local_room

from .conftest import ROOT


def pytest_of(*options, **environment):
    """A run of drills; returns (exit status, output)."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "drills", "-p", "no:cacheprovider", *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_server_that_cannot_be_reached(tmp_path):
    path = tmp_path / "dead.socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    for where, message in {
        "/nowhere/unix.socket": "no Incus socket at /nowhere/unix.socket; nothing was contacted",
        str(path): f"reach Incus at {path}",
    }.items():
        status, output = pytest_of("--incus=unix", f"--reports={tmp_path}", INCUS_SOCKET=where)
        assert status == pytest.ExitCode.TESTS_FAILED
        assert message in output
        assert "HINT: start Incus, set INCUS_SOCKET" in output or where == str(path)
        assert "Traceback" not in output


def test_a_malformed_fleet_file(tmp_path):
    fleet = tmp_path / "mine.yaml"
    text = (ROOT / "fleets" / "atlas.yaml").read_text()
    fleet.write_text(text.replace("100GB", "100GQ", 1))
    status, output = pytest_of(f"--fleet={fleet}", f"--reports={tmp_path}")
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "100GB" in row)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert f"{fleet}:{line}" in output
    assert "100GQ" in output
    assert "Traceback" not in output


def test_nothing_selected_is_no_success(tmp_path):
    status, output = pytest_of("-k", "no-such-service", f"--reports={tmp_path}")
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED
    words = " ".join(output.split())
    assert re.search(r"\b[1-9]\d+ other promised recoveries were not selected in this run", words)
    assert "No drill was made: this run proves nothing." in words
    assert "verdict of the run: not verified" in output


def test_a_missing_image(make_service, monkeypatch):
    drill, service = make_service("prometheus", "snapshot")
    service.spec = service.spec.model_copy(update={"image": "no-such-image"})
    with pytest.raises(IncusError, match="create instance prometheus01 from image no-such-image"):
        service.deploy()
    assert drill.record().verdict == "not verified"


@pytest.fixture
def disk(tmp_path):
    """A file system of 64 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def fill(disk):
    left = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(left.f_bavail * left.f_frsize))


def test_a_full_disk_leaves_no_half_tarball(make_service, disk, monkeypatch):
    """One that fills during the export: what was written goes. One that is full: no export."""
    # Prometheus may have allocated more than this disk holds.
    _, service = make_service("mosquitto", "tarball")
    service.deploy()
    service.scratch = disk

    def filled_after_the_check(*args):
        must_have_local_room(*args)
        fill(disk)

    with monkeypatch.context() as patch:
        patch.setattr("fixtures.recovery.service.must_have_local_room", filled_after_the_check)
        with pytest.raises(CouldNotLook, match="write tarball .*: No space left on device"):
            service.back_up("tarball")
    assert [path.name for path in disk.iterdir()] == ["filler"]
    service.wait_until_healthy()
    match = (
        r"not enough room for the export of .*: needs [1-9][0-9.]* [KM]iB, "
        rf"{disk} on this machine has 0 B free, of which 3\.2 MiB stay free; nothing was written"
    )
    with pytest.raises(CouldNotLook, match=match):
        service.back_up("tarball")
    assert [path.name for path in disk.iterdir()] == ["filler"]


@pytest.fixture
def tiny_pool(drill_project):
    """A pool of the lab that is smaller than what will be imported into it."""
    owner = Incus(drill_project.endpoint, OwnServerPolicy(drill_project.endpoint))
    pool = {"name": "tiny", "driver": "btrfs", "config": {"size": "256MiB"}}
    owner.post("storage-pools", body=pool)
    yield "tiny"
    owner.delete("storage-pools", "tiny")


def test_a_full_pool_is_named_and_leaves_no_volume(tiny_pool, drill_project, make_service):
    _drill, service = make_service("prometheus", "tarball")
    service.deploy()
    filler = "head -c 280000000 /dev/urandom > /prometheus/filler"
    service.instance.must_exec(["sh", "-c", filler])
    backup = service.back_up("tarball")
    there = Volume(drill_project, tiny_pool, service.volume.name)
    match = "(?s)import .* on pool tiny: .*[Nn]o space left"
    with backup.tarball.content() as content, pytest.raises(IncusError, match=match) as raised:
        there.import_from(content, backup.name)
    assert "Traceback" not in str(raised.value)
    assert not there.exists()
