"""The state bucket on a real Incus: lost and regained, and what can go wrong with it."""

import os
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import fixtures.recovery.bucket as verbs
from fixtures.clock import NotYet, wait_until
from fixtures.errors import (
    BackupDamaged,
    CouldNotLook,
    IncusError,
    LabError,
    RecoveryFailed,
    WrongData,
)
from fixtures.fleet.model import Bucket as BucketSpec
from fixtures.incus.buckets import open_s3
from fixtures.lab import settings
from fixtures.lab.lab import Lab
from fixtures.recovery.bucket import BucketUnderDrill
from fixtures.services.terraform_state import S3

pytestmark = pytest.mark.skipif(
    not settings.from_environment().has_buckets, reason="Incus 6.0 needs MinIO for buckets"
)
KEY = "atlas/terraform.tfstate"


class Recorder:
    """Holds what a drill would write into the evidence."""

    def __init__(self):
        self.checks, self.notes, self.counted = [], [], {}
        self.restored_bytes = None
        self.backup = self.software = self.ledger = None

    def take_backup(self, backup, *, software):
        self.backup, self.software = backup, software

    def take_ledger(self, ledger):
        self.ledger = ledger

    @property
    def broken(self):
        return {check.name for check in self.checks if check.outcome == "broken"}


@pytest.fixture
def lab(drill_project):
    lab = Lab()
    assert str(lab.socket) == drill_project.endpoint
    return lab


@pytest.fixture
def address(drill_project, lab):
    with open_s3(drill_project, lab.dial) as address:
        yield address


@pytest.fixture
def make(drill_project, lab, address, tmp_path):
    made = []

    def one(live="atlas-terraform-state", **options):
        regime = {"native": {"consistency": "live"}}
        spec = BucketSpec(name=live, pool=settings.BUCKET_POOL, key=KEY, backups=regime)
        scratch = tmp_path / str(len(made))
        scratch.mkdir()
        made.append(
            BucketUnderDrill(
                drill_project, spec, address, lab.tofu(), Recorder(), scratch, **options
            )
        )
        return made[-1]

    yield one
    for each in made:
        each.remove()


@pytest.fixture
def bucket(make):
    bucket = make()
    bucket.deploy()
    return bucket


def regain(bucket, backup):
    bucket.destroy()
    bucket.import_export(backup)
    bucket.wait_until_healthy()


def test_whole_cycle(bucket):
    backup = bucket.back_up("native")
    assert f"{KEY}.tflock" in backup.inspection.objects
    assert oct(backup.tarball.path.stat().st_mode & 0o777) == "0o600"
    assert bucket.subject.read_state().serial > int(backup.observations["state serial"])
    regain(bucket, backup)
    bucket.must_hold(backup)
    record = bucket.drill
    assert {check.outcome for check in record.checks} == {"held"}
    assert {check.name for check in record.checks} >= {
        "canaries",
        "state serial",
        "state lineage",
        f"object {KEY}",
        f"object {KEY}.tflock",
        "key admin",
        "key reader",
        "the lock refuses a second apply",
        "plan finds no changes",
        "apply works again",
        "the read-only key reads",
        "the read-only key does not write",
        "plan with the read-only key",
    }
    assert (len(record.ledger.recovered), len(record.ledger.gone)) == (2, 2)
    assert record.restored_bytes > 0 and record.software.startswith("OpenTofu 1.")


def test_no_secret_is_in_a_file_an_argument_or_an_environment(bucket):
    secret = bucket.subject.admin.secret.reveal()
    tofu = bucket.subject.tofu
    with tofu.started(["console"], bucket.subject.admin, stdin=subprocess.PIPE) as process:
        process.stdin.write("1 + 1\n")
        process.stdin.flush()
        assert process.stdout.readline() == "2\n"
        for what, shown in (("cmdline", b"console"), ("environ", b"/proc/self/fd/")):
            seen = Path(f"/proc/{process.pid}/{what}").read_bytes()
            assert shown in seen
            assert secret.encode() not in seen
    files = [path for path in bucket.scratch.rglob("*") if path.is_file()]
    assert {"main.tf.json", "s3.pem"} <= {path.name for path in files}
    for path in files:
        assert secret.encode() not in path.read_bytes(), path


def test_the_older_of_two_exports_is_wrong_data(bucket):
    older, newer = bucket.back_up(), bucket.back_up()
    regain(bucket, newer)
    bucket.must_hold(newer)
    assert len(bucket.drill.ledger.recovered) == 4
    bucket.drill.checks.clear()
    regain(bucket, replace(newer, tarball=older.tarball))
    with pytest.raises(WrongData, match=r"lost: terraform_data\.later_1_"):
        bucket.must_hold(newer)
    assert {"canaries", "state serial", f"object {KEY}"} <= bucket.drill.broken


def change_state(bucket):
    s3 = bucket.subject.s3
    s3.put(KEY, s3.get(KEY).replace(b'"::1"', b'"::2"'))


STATE = f"object {KEY}"
SPOILED = {
    "changed": (
        change_state,
        r"changed: terraform_data\.earlier_host",
        {"canaries", STATE, "plan finds no changes"},
    ),
    "unreadable": (lambda bucket: bucket.subject.s3.put(KEY, b"{}"), STATE, {STATE}),
    # A missing state is no fresh start.
    "missing": (
        lambda bucket: bucket.subject.s3.delete(KEY),
        f"there is no state at {KEY}",
        {STATE},
    ),
    "without its lock": (
        lambda bucket: bucket.subject.remove_lock(),
        r"tflock: is \(absent\)",
        {f"{STATE}.tflock"},
    ),
    "without its reader": (
        lambda bucket: bucket.bucket.delete_key("reader"),
        "key reader: gone",
        {"key reader", "the read-only key reads", "plan with the read-only key"},
    ),
}


@pytest.mark.parametrize(("spoil", "why", "broken"), SPOILED.values(), ids=SPOILED)
def test_a_spoiled_bucket_is_wrong_data(bucket, spoil, why, broken):
    backup = bucket.back_up()
    regain(bucket, backup)
    spoil(bucket)
    with pytest.raises(WrongData, match=why):
        bucket.must_hold(backup)
    assert broken <= bucket.drill.broken


def test_revoked_admin_is_not_recovered(bucket, monkeypatch):
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 0.5)
    backup = bucket.back_up()
    bucket.destroy()
    bucket.import_export(backup)
    bucket.bucket.delete_key("admin")
    with pytest.raises(RecoveryFailed, match="list with the admin key admin: status 4"):
        bucket.wait_until_healthy()


def test_a_truncated_export_is_not_imported_and_incus_itself_refuses_it(bucket):
    backup = bucket.back_up()
    bucket.destroy()
    with backup.tarball.path.open("r+b") as file:
        file.truncate(backup.tarball.file_bytes - 5)
    with pytest.raises(BackupDamaged, match="it was not imported"):
        bucket.import_export(backup)
    with backup.tarball.path.open("r+b") as file:
        file.truncate(backup.tarball.file_bytes // 2)
    with pytest.raises(IncusError):
        bucket.bucket.import_from(backup.tarball.path)
    assert not bucket.bucket.exists()


def test_existing_export_comes_back_beside_its_living_original(make, bucket):
    taken = bucket.back_up()
    other = make(bucket.bucket.name, name=f"{bucket.bucket.name}-2"[-60:].lstrip("-"))
    existing = other.read_existing(taken.tarball.path)
    assert abs((existing.taken_at - taken.taken_at).total_seconds()) < 5
    other.import_export(existing)
    other.wait_until_healthy()
    other.must_hold(existing)
    assert {check.outcome for check in other.drill.checks} == {"held"}
    assert sorted(other.drill.ledger.recovered) == [f"object {KEY}", f"object {KEY}.tflock"]
    assert not {key.access for key in other.keys} & {key.access for key in bucket.keys}
    assert [path.name for path in other.scratch.glob("*.tar")] == []
    bucket.wait_until_healthy()
    other.bucket.delete_key("reader")
    other.subject.s3.put("uninvited", b"x")
    with pytest.raises(WrongData, match=r"object uninvited: is 1 bytes.*was \(absent\)"):
        other.must_hold(existing)


def test_nothing_is_applied_over_a_state_of_real_infrastructure(bucket):
    s3 = bucket.subject.s3
    s3.put(KEY, s3.get(KEY).replace(b'"terraform_data"', b'"incus_instance"'))
    for act in (bucket.subject.apply, bucket.subject.leave_lock):
        with pytest.raises(CouldNotLook, match="holds incus_instance.*nothing is planned"):
            act()


def test_objects_of_odd_names_and_many_pages(bucket, address):
    s3 = S3(address, bucket.bucket.name, bucket.subject.admin)
    names = ["a b/c+d", "ümlaut/=&?", *(f"many/{number:04}" for number in range(1005))]
    for name in names:
        s3.put(name, name.encode())
    assert set(s3.objects()) == {*names, KEY}
    assert s3.get("ümlaut/=&?") == "ümlaut/=&?".encode()
    s3.close()


def must_all_be_in(network):
    for path in Path("/proc/self/task").glob("*/ns/net"):
        with suppress(OSError):
            if (seen := os.readlink(path)) != network:
                raise NotYet(f"{path} is {seen}")


def test_dial_leaves_this_process_in_its_own_network(lab):
    before = os.readlink("/proc/self/ns/net")
    with lab.dial(settings.S3_PORT) as connection:
        assert connection.getpeername() == ("127.0.0.1", settings.S3_PORT)
        # A joined thread may take a moment to leave the kernel's list.
        wait_until(
            lambda: must_all_be_in(before), label="all threads in their own network", timeout=2
        )
    with pytest.raises(ConnectionRefusedError):
        lab.dial(1)
    with pytest.raises(LabError, match="the lab lab-none is not up"):
        Lab("lab-none").dial(1)
    assert f"buckets on 127.0.0.1:{settings.S3_PORT}" in str(lab.status())
