"""The backup procedure when things go wrong: services run again, and no half file has a name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fixtures.fleet.load import load_fleet
from fixtures.incus.client import Incus
from fixtures.incus.guard import DrillPolicy, OwnServerPolicy
from fixtures.incus.instances import Instance
from fixtures.incus.volumes import Volume
from fixtures.procedure.guard import BackupPolicy
from fixtures.procedure.run import Procedure
from fixtures.procedure.store import INCOMING, Store
from tests.faults.conftest import WITH_SIGINT
from tests.faults.plaintext import plaintext_in

ROOT = Path(__file__).resolve().parents[2]
FLEET = load_fleet(ROOT / "fleets" / "atlas.yaml")


@pytest.fixture(autouse=True)
def source_as_before(drill_project):
    """The source keeps no snapshot of these tests: their notes go with them."""
    owner = Incus(
        drill_project.endpoint,
        OwnServerPolicy(drill_project.endpoint),
        project=FLEET.source_project,
    )
    volumes = [Volume(owner, FLEET.pool, s.volumes[0].name) for s in FLEET.services]
    before = {volume.name: set(volume.snapshots()) for volume in volumes}
    yield
    for volume in volumes:
        for name in set(volume.snapshots()) - before[volume.name]:
            volume.delete_snapshot(name)


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "passphrase"
    file.write_text("passphrase of this test\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def source(drill_project):
    """A reading view of the lab's source project."""
    return Incus(drill_project.endpoint, DrillPolicy("reader"), project=FLEET.source_project)


@pytest.fixture
def start(drill_project, tmp_path, secret):
    """Starts `./run backup`'s program against the lab's source."""
    started = []

    def begin(*options, to=tmp_path / "backups"):
        program = [*WITH_SIGINT, sys.executable, "-m", "fixtures.plugin.backup"]
        argv = [*program, "--incus=unix", f"--to={to}"]
        child = subprocess.Popen(
            [*argv, f"--passphrase-file={secret}", *options],
            cwd=ROOT,
            env={**os.environ, "INCUS_SOCKET": drill_project.endpoint, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(child)
        return child

    yield begin
    for child in started:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.stdout.close()
        child.wait()


def finish(child, seconds=120):
    return child.communicate(timeout=seconds)[0], child.returncode


def test_plaintext_would_be_seen(start, tmp_path):
    said, status = finish(start("--only", "mosquitto", "--kinds", "tarball"))
    assert status == 0, said
    (found,) = plaintext_in(tmp_path / "backups")
    assert found.name.startswith("mosquitto-tarball-")


def wait_for(is_so, what, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def files(directory):
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_backup_is_made_good(start, source, tmp_path, number):
    stopped = tmp_path / "backups" / ".stopped" / "step-ca01"
    child = start("--only", "step-ca", "--kinds", "encrypted-tarball")
    wait_for(lambda: stopped.exists(), "the journal tells of the stop")
    wait_for(lambda: Instance(source, "step-ca01").status() == "Stopped", "it is stopped")
    os.killpg(child.pid, number)
    said, status = finish(child)
    if number == signal.SIGINT:
        assert status == 130, said
        assert "has been started again" in said
        assert Instance(source, "step-ca01").status() == "Running"
        assert not stopped.exists()
    else:
        assert stopped.exists(), "the journal outlives the kill"
    whole = Store(tmp_path / "backups").notes("step-ca", "encrypted-tarball")
    assert plaintext_in(tmp_path / "backups") == []

    said, status = finish(start("--only", "step-ca", "--kinds", "encrypted-tarball"))
    assert status == 0, said
    if number == signal.SIGKILL:
        assert "started step-ca01, which an interrupted run had stopped" in said
    assert Instance(source, "step-ca01").status() == "Running"
    assert not stopped.exists()
    left = [p for p in files(tmp_path / "backups") if p.parent.name == INCOMING]
    assert left == []
    made = Store(tmp_path / "backups").notes("step-ca", "encrypted-tarball")
    assert len(made) == len(whole) + 1
    assert plaintext_in(tmp_path / "backups") == []


def test_a_full_disk_fails_one_backup_and_no_other(start, source, tmp_path):
    to = tmp_path / "backups"
    small = to / "atlantis" / "tarball"
    small.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", small], check=True)
    try:
        said, status = finish(start("--only", "atlantis", "mosquitto", "--kinds", "tarball"))
        assert status == 1, said
        assert "FAILED: atlantis: tarball: write tarball " in said
        assert "No space left on device" in said
        assert files(small) == []
        assert len(Store(to).notes("mosquitto", "tarball")) == 1
        assert Instance(source, "atlantis01").status() == "Running"
        assert "Traceback" not in said
    finally:
        subprocess.run(["umount", small], check=True)


def test_two_runs_do_not_mix(start, tmp_path):
    first = start("--only", "step-ca", "mosquitto")
    wait_for(lambda: (tmp_path / "backups" / ".stopped").exists(), "the first run has begun")
    # It lives, and cannot end before the second has come as far as the lock.
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        said, status = finish(start("--only", "mosquitto"))
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert status == 2, said
    assert "another run is making backups in" in said
    assert finish(first)[1] == 0


def test_old_backups_are_pruned_and_foreign_ones_never(source, drill_project, tmp_path):
    owner = OwnServerPolicy(drill_project.endpoint)
    view = Incus(drill_project.endpoint, owner, project=FLEET.source_project)
    volume = Volume(view, FLEET.pool, "mosquitto01-data")
    volume.snapshot("an-operators-own")
    before = set(volume.snapshots())
    guarded = Incus(
        drill_project.endpoint,
        BackupPolicy(FLEET, FLEET.source_project),
        project=FLEET.source_project,
    )

    def run(days):
        later = datetime.now(UTC) + timedelta(days=days)
        procedure = Procedure(guarded, FLEET, tmp_path, None, lambda _: None, lambda: later)
        return procedure.run(["snapshot"], ["mosquitto"])

    try:
        first, second = run(0), run(0)
        assert first.failed == second.failed == [] == second.pruned
        (old,), (new,) = ([note.name for note in each.made] for each in (first, second))
        third = run(8)
        assert third.pruned == [f"mosquitto: snapshot {old}", f"mosquitto: snapshot {new}"][::-1]
        newest = third.made[0].name
        assert third.spared == [
            "mosquitto: snapshot: the newest good one is older than its retention, and stays"
        ]
        assert set(volume.snapshots()) == before | {newest}
        notes = Store(tmp_path).notes("mosquitto", "snapshot")
        assert [note.name for note in notes] == [newest]
    finally:
        for name in set(volume.snapshots()) - (before - {"an-operators-own"}):
            volume.delete_snapshot(name)


def test_a_dry_run_contacts_nobody(tmp_path):
    argv = [sys.executable, "-m", "fixtures.plugin.backup", "--incus=unix", "--dry-run"]
    done = subprocess.run(
        [*argv, f"--to={tmp_path / 'nowhere'}"],
        cwd=ROOT,
        env={**os.environ, "INCUS_SOCKET": "/nowhere", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step-ca: encrypted-tarball, stops the service, removed after 4w" in done.stdout
    assert "nothing was contacted, made or removed" in done.stdout
    assert not (tmp_path / "nowhere").exists()
