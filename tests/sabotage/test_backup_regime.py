"""The drill of the backup regime, seen red on a real source and real files."""

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

import drills.test_backup_regime as regime_drill
import tests.sabotage.acts as acts
from fixtures.audit.audit import Audit
from fixtures.audit.inventory import collect
from fixtures.audit.policy import read_objects
from fixtures.evidence.record import LOSSES, AuditVerdict, Verdict
from fixtures.evidence.writer import HistoryLine
from fixtures.incus.instance import Instance
from fixtures.incus.volumes import Volume
from fixtures.plugin.audits import PolicyUnderAudit, SourceUnderAudit, projection


@pytest.fixture
def audited(place, fleet):
    """Makes the audit of a subject by the drill's own body; returns what is not in order."""

    def run(name, where=None, now=None, fleet=fleet):
        subject = next(part for part in fleet.parts if part.name == name)
        audit = Audit(name, "backup regime")
        regime = collect(replace(where or place), subject, now or datetime.now(UTC))
        regime_drill.test_backup_regime_is_kept(audit, PolicyUnderAudit(regime, fleet))
        assert [row.loss for row in audit.record().survivors] == list(LOSSES)
        seen = {check.name: check.detail for check in audit.checks if check.outcome != "held"}
        assert (audit.verdict is AuditVerdict.IN_ORDER) == (not seen)
        return seen

    return run


@pytest.fixture
def audited_whole(place, fleet):
    """Makes the audit of the source by the drill's own body; returns what is not in order."""

    def run(fleet=fleet):
        audit = Audit("fleet", "backup regime")
        regime_drill.test_everything_of_the_source_is_covered(
            audit, SourceUnderAudit(read_objects(place.incus, fleet), fleet)
        )
        return {check.name: check.detail for check in audit.checks if check.outcome != "held"}

    return run


def test_the_labs_source_is_in_order(audited):
    for name in ("mosquitto", "step-ca", "atlas-terraform-state"):
        assert audited(name) == {}


def test_days_without_a_backup_are_seen(audited):
    later = datetime.now(UTC) + timedelta(days=9)
    seen = audited("step-ca", now=later)
    lost = {"loss of the volume", "loss of the pool"}
    assert set(seen) == {"newest snapshot", "newest encrypted-tarball"} | lost
    assert "9 d old; the schedule @weekly allows 7 d 17 h" in seen["newest snapshot"]
    assert seen["loss of the pool"].startswith("encrypted-tarball step-ca01-data.tar.zst.gpg, 9 d")


def test_what_the_fleet_file_does_not_know_is_seen(audited_whole, owner, fleet):
    assert audited_whole() == {}
    scratch = Volume(owner, "local", "scratch")
    scratch.create({})
    try:
        assert audited_whole() == {
            "volume scratch": "it is not in the fleet file, so that no backup of it is looked for"
        }
        reasons = {"volume scratch": "a cache"}
        assert audited_whole(fleet.model_copy(update={"not_covered": reasons})) == {}
    finally:
        scratch.remove()
    others = tuple(spec for spec in fleet.services if spec.name != "loki")
    seen = audited_whole(fleet.model_copy(update={"services": others, "buckets": ()}))
    bucket = "bucket atlas-terraform-state"
    assert set(seen) == {"instance loki01", "volume loki01-data", bucket}


@pytest.mark.parametrize(("name", "part"), [(".left-over.yaml", 1), ("half.tar.gz.partial", 0.9)])
def test_plaintext_of_an_encrypted_volume_is_seen_under_any_name(audited, place, owner, name, part):
    hidden = place.places[0] / "notes-of-mine" / name
    hidden.parent.mkdir(mode=0o700)
    whole = b"".join(Volume(owner, "local", "step-ca01-data").export("gzip"))
    hidden.write_bytes(whole[: int(len(whole) * part)])
    hidden.chmod(0o600)
    seen = audited("step-ca")
    assert set(seen) == {"no plaintext beside them"}
    assert f"notes-of-mine/{name}" in seen["no plaintext beside them"]


def test_a_file_that_is_not_encrypted_is_seen(audited, place, fleet):
    file = acts.newest(place, fleet, "step-ca", "encrypted-tarball")
    shutil.copy(acts.newest(place, fleet, "mosquitto", "tarball"), file)
    assert "is not encrypted, although its name says so" in audited("step-ca")["encrypted"]


def test_files_that_are_changed_open_half_or_not_readable_are_seen(audited, place, fleet):
    file = acts.newest(place, fleet, "loki", "tarball")
    half = place.places[0] / ".half.tar.partial"
    half.write_bytes(b"x")
    half.chmod(0o600)
    assert audited("loki") == {}, "a backup is being made"
    os.utime(half, (0, 0))
    file.parent.chmod(0o755)
    (file.parent / "loki01-data-copy.tar").write_bytes(b"x")
    seen = audited("loki")
    assert set(seen) == {"every file can be read", "nobody else may read them"}
    assert f"{file.parent} (0755)" in seen["nobody else may read them"]
    for why in ("loki01-data-copy.tar is no archive", "an interrupted backup left half a file"):
        assert why in seen["every file can be read"]
    file.write_bytes(file.read_bytes()[:-1])
    assert audited("loki").keys() - seen.keys() == {
        "checksums beside the files",
        "loss of the pool",
    }


def test_an_instance_that_a_killed_backup_left_stopped_is_seen(audited, place, owner):
    instance = Instance(owner, "loki01")
    instance.stop()
    try:
        assert audited("loki") == {"the instance runs": "loki01 is Stopped"}
    finally:
        instance.start()


def test_state_that_is_not_on_the_volume_is_seen(audited, audited_whole, owner):
    """Attacks 1 and 2: the tarball holds no file at all, and all was in order."""
    conf, unit = "/etc/mosquitto/conf.d", "/etc/systemd/system/alertmanager.service.d"
    away = "ExecStart=\nExecStart=/usr/bin/prometheus-alertmanager --storage.path=/opt/am"
    for name, directory, text, kept in (
        (
            "mosquitto",
            conf,
            "persistence_location /var/lib/mq/",
            "kept in /var/lib/mq/, on the root",
        ),
        ("alertmanager", unit, f"[Service]\n{away}", "/opt/am"),
    ):
        instance, file = Instance(owner, f"{name}01"), f"{directory}/away.conf"
        instance.must_exec(["mkdir", "-p", directory])
        instance.push(file, f"{text}\n".encode())
        try:
            seen = audited(name)["its state is on the volume"]
            assert kept in seen
            assert audited_whole() == {f"instance {name}01": seen}
        finally:
            instance.must_exec(["rm", file])


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("snapshots.schedule", "@yearly", "is '@yearly', the fleet file says '@weekly'"),
        # The procedure's snapshots too.
        ("snapshots.expiry", "1d", "removes snapshots after '1d'"),
    ],
)
def test_other_settings_of_the_volume_are_seen(audited, owner, name, value, why):
    path = ("storage-pools", "local", "volumes", "custom", "loki01-data")
    owner.patch(*path, body={"config": {name: value}})
    try:
        assert why in audited("loki")[name]
    finally:
        owner.patch(*path, body={"config": {name: ""}})


def test_a_projection_needs_a_measured_drill(place, fleet):
    seen = collect(place, fleet.service("mosquitto"), datetime.now(UTC))
    about = {"run": "r", "begun": datetime.now(UTC), "host": "h", "incus": None, "target": "r1"}
    about |= {"service": "mosquitto", "scenario": "tarball", "origin": "existing"}
    about |= {"verdict": Verdict.RECOVERED, "rto": 10.0, "rpo": None, "target_rto": 1800.0}
    moved = {"restored_bytes": 64 * 2**20, "restore_seconds": 4.0, "copied": True}
    line = HistoryLine(**about, **moved)
    seen.used_bytes = 640 * 2**20
    assert projection([], fleet, seen, "r1") is None
    small = line.model_copy(update={"restored_bytes": 1000})
    assert projection([small], fleet, seen, "r1") is None
    assert projection([line], fleet, seen, "r1") == (10.0 - 4.0 + 40.0, 1800.0)
    measured = line.model_copy(update={"moving_seconds": 3.0})
    assert projection([measured], fleet, seen, "r1") == (10.0 - 3.0 + 30.0, 1800.0)
    # What the lab moves in a second says nothing of production.
    assert projection([line], fleet, seen, "r2") is None


def test_a_younger_backup_does_not_count_before_its_time(place, fleet):
    before = datetime.now(UTC) - timedelta(days=2)
    seen = collect(replace(place, as_of=before), fleet.service("loki"), before)
    assert seen.snapshots == {}
    assert seen.files == {"tarball": []}
