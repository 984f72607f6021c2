"""The drill of the backup regime, seen red on a real source and real files."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.procedure.store import Store

import drills.test_backup_regime as regime_drill
from fixtures.audit.audit import Audit
from fixtures.audit.seen import everything, look, names_volume
from fixtures.evidence.history import HistoryLine
from fixtures.evidence.verdict import AuditVerdict, Verdict
from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy
from fixtures.incus.volumes import Volume
from fixtures.plugin.drilling import stage_of
from fixtures.plugin.existing import place_of
from fixtures.plugin.regimes import RegimeUnderAudit, projection


@pytest.fixture
def place(pytestconfig, drill_project, tmp_path):
    """The source's backups, their files as a copy that may be spoiled."""
    where = place_of(stage_of(pytestconfig))
    copy = tmp_path / "backups"
    shutil.copytree(where.directory, copy)
    copy.chmod(0o700)
    return replace(where, directory=copy)


@pytest.fixture
def audited(place, fleet):
    """Makes the audit of a subject by the drill's own body; returns what is not in order."""

    def run(name, where=None, now=None):
        subject = next(one for one in fleet.parts if one.name == name)
        audit = Audit(name, "backup regime")
        seen = look(where or place, subject, now or datetime.now(UTC))
        regime_drill.test_backup_regime_is_kept(audit, RegimeUnderAudit(seen))
        told = {check.name: check.detail for check in audit.checks if check.outcome != "held"}
        assert (audit.verdict is AuditVerdict.IN_ORDER) == (not told)
        return told

    return run


def owner_of(place):
    """The source as its owner sees it, who may change it."""
    socket = str(place.incus.endpoint)
    return Incus(socket, OwnServerPolicy(socket), project=place.project)


@pytest.mark.parametrize("name", ["mosquitto", "step-ca", "atlas-terraform-state"])
def test_the_labs_source_is_in_order(audited, name):
    assert audited(name) == {}


def test_days_without_a_backup_are_seen(audited):
    later = datetime.now(UTC) + timedelta(days=9)
    told = audited("step-ca", now=later)
    assert set(told) == {"newest snapshot", "newest encrypted-tarball"}
    assert "9 d old; the schedule @weekly allows 7 d 17 h" in told["newest snapshot"]


def test_a_changed_file_is_seen(audited, place):
    store = Store(place.directory)
    file = store.path(store.notes("mosquitto", "tarball")[-1])
    file.write_bytes(file.read_bytes()[:-1])
    assert set(audited("mosquitto")) == {"checksums of the notes"}


def test_plaintext_of_an_encrypted_volume_is_seen_under_any_name(audited, place, fleet):
    source = owner_of(place)
    # A note by its name, and an export by what is in it.
    hidden = place.directory / "mosquitto" / "tarball" / ".incoming" / "left-over.json"
    hidden.parent.mkdir(mode=0o700, exist_ok=True)
    hidden.write_bytes(b"".join(Volume(source, "local", "step-ca01-data").export("zstd")))
    hidden.chmod(0o600)
    assert names_volume(hidden) == "step-ca01-data"
    told = audited("step-ca")
    assert set(told) == {"no plaintext beside them"}
    assert "mosquitto/tarball/.incoming/left-over.json" in told["no plaintext beside them"]


def test_half_an_export_is_plaintext_too(audited, place):
    source = owner_of(place)
    half = place.directory / "half.tar.gz"
    whole = b"".join(Volume(source, "local", "step-ca01-data").export("gzip"))
    half.write_bytes(whole[: len(whole) * 9 // 10])
    half.chmod(0o600)
    assert "half.tar.gz" in audited("step-ca")["no plaintext beside them"]


def test_a_file_that_is_not_encrypted_is_seen(audited, place):
    store = Store(place.directory)
    note = store.notes("step-ca", "encrypted-tarball")[-1]
    other = store.path(store.notes("mosquitto", "tarball")[-1])
    shutil.copy(other, store.path(note))
    assert {"checksums of the notes", "encrypted"} == set(audited("step-ca"))


def test_open_modes_and_strays_are_seen(audited, place):
    directory = place.directory / "loki" / "tarball"
    directory.chmod(0o755)
    (directory / "copy-of-a-copy.tar").write_bytes(b"x")
    (directory / "copy-of-a-copy.tar").chmod(0o644)
    told = audited("loki")
    assert set(told) == {"every file has a note", "nobody else may read them"}
    assert "loki/tarball (0755)" in told["nobody else may read them"]


def test_another_schedule_on_the_volume_is_seen(audited, place):
    owner = owner_of(place)
    node = owner.api.storage_pools["local"].volumes.custom["atlantis01-data"]
    config = {"snapshots.schedule": "@yearly", "snapshots.expiry": "30d"}
    owner.wait(node.patch(json={"config": config}))
    try:
        told = audited("atlantis")
        assert "is '@yearly', the fleet file says '@weekly'" in told["snapshots.schedule"]
        assert "is '30d', the fleet file says '2w'" in told["snapshots.expiry"]
    finally:
        owner.wait(node.patch(json={"config": dict.fromkeys(config, "")}))


def test_a_projection_needs_a_measured_drill(place, fleet):
    seen = look(place, fleet.service("mosquitto"), datetime.now(UTC))
    line = HistoryLine(
        run="r",
        begun=datetime.now(UTC),
        host="h",
        incus=None,
        target="r1",
        service="mosquitto",
        scenario="tarball",
        origin="existing",
        verdict=Verdict.RECOVERED,
        rto=10.0,
        rpo=None,
        target_rto=1800.0,
        restored_bytes=64 * 2**20,
        restore_seconds=4.0,
        copied=True,
    )
    seen.used_bytes = 640 * 2**20
    assert projection([], fleet, seen, "r1") is None
    small = line.model_copy(update={"restored_bytes": 1000})
    assert projection([small], fleet, seen, "r1") is None
    assert projection([line], fleet, seen, "r1") == (10.0 - 4.0 + 40.0, 1800.0)
    told_apart = line.model_copy(update={"moving_seconds": 3.0})
    assert projection([told_apart], fleet, seen, "r1") == (10.0 - 3.0 + 30.0, 1800.0)
    # What the lab moves in a second says nothing of production.
    assert projection([line], fleet, seen, "r2") is None


def test_an_expiry_that_takes_the_procedures_snapshots_is_seen(audited, place):
    owner = owner_of(place)
    node = owner.api.storage_pools["local"].volumes.custom["atlantis01-data"]
    owner.wait(node.patch(json={"config": {"snapshots.expiry": "1d"}}))
    try:
        assert "removes snapshots after '1d'" in audited("atlantis")["snapshots.expiry"]
    finally:
        owner.wait(node.patch(json={"config": {"snapshots.expiry": ""}}))


def test_a_snapshot_that_somebody_removed_is_seen(audited, place):
    volume = Volume(owner_of(place), "local", "atlantis01-data")
    store = Store(place.directory)
    note = store.notes("atlantis", "snapshot")[-1]
    gone = note.model_copy(update={"name": "backup-20260101-000000-000000"})
    store.keep(gone, None)
    told = audited("atlantis")
    assert set(told) == {"snapshots of the notes"}
    assert gone.name in told["snapshots of the notes"]
    assert not volume.has_snapshot(gone.name)


def test_half_a_file_and_a_note_alone_are_seen(audited, place):
    directory = place.directory / "loki" / "tarball"
    half = directory / ".incoming" / ".half.tar.partial"
    half.parent.mkdir(mode=0o700, exist_ok=True)
    half.write_bytes(b"x")
    half.chmod(0o600)
    assert audited("loki") == {}
    os.utime(half, (0, 0))
    store = Store(place.directory)
    store.path(store.notes("loki", "tarball")[-1]).unlink()
    told = audited("loki")["every file has a note"]
    assert "an interrupted run left half a file: loki/tarball/.incoming/.half.tar.partial" in told
    assert "these notes cannot be read, or have no file: loki/tarball/" in told


def test_what_cannot_be_read_is_not_in_order(place, monkeypatch):
    (place.directory / "step-ca" / "locked").mkdir(mode=0o700)
    listed = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match="Permission denied"):
        list(everything(place.directory))


def test_a_younger_backup_does_not_count_before_its_time(place, fleet):
    before = datetime.now(UTC) - timedelta(days=2)
    told = look(replace(place, as_of=before), fleet.service("loki"), before)
    assert told.snapshots == {}
    assert told.files == {"tarball": []}
    assert told.removed == {}
