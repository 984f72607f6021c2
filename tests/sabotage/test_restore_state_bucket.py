"""The drill of the state bucket, seen red for each of its verifications."""

import json

import pytest

import drills.test_restore_state_bucket as runbook
import tests.sabotage.acts as acts
from fixtures.backups.bucket_export import inspect
from fixtures.errors import BackupDamaged
from fixtures.evidence.record import Verdict

body = runbook.test_state_bucket_restored_from_export


@pytest.fixture
def drilled(make_bucket):
    """Runs the drill's body on a sabotaged bucket and returns its evidence."""

    def run(sabotage):
        drill, bucket = make_bucket()
        bucket.subject.s3.request("PUT", "atlas/changed", data=b"whole")
        bucket.subject.s3.request("PUT", "atlas/deleted", data=b"whole")
        export = bucket.back_up()
        sabotage(bucket, export)
        return acts.attempt(drill, body, bucket, export)

    return run


def after_import(act):
    """Import as it should be, then do `act(bucket)`."""

    def sabotage(bucket, export):
        whole = bucket.import_export

        def spoiled(backup):
            whole(backup)
            act(bucket)

        bucket.import_export = spoiled

    return sabotage


def forget_the_import(bucket, export):
    bucket.import_export = lambda _: None


def delete_the_admin_key(bucket):
    admin = next(key for key in bucket.keys if key.role == "admin")
    bucket.bucket.delete_key(admin.name)


def rot(bucket, export):
    data = bytearray(export.tarball.path.read_bytes())
    data[len(data) // 2] ^= 1
    export.tarball.path.write_bytes(data)


@pytest.mark.parametrize(
    ("sabotage", "why"),
    [
        (forget_the_import, ("-state healthy: not within", "NoSuchBucket")),
        (after_import(delete_the_admin_key), ("-state healthy: not within", "InvalidAccessKeyId")),
        (rot, ("is damaged: its sha256 is",)),
    ],
)
def test_a_bucket_that_is_not_served_is_not_recovered(drilled, sabotage, why):
    drill = drilled(sabotage)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert all(part in drill.reason for part in why)


def test_an_older_state_is_wrong_data(make_bucket):
    drill, bucket = make_bucket()
    old, backup = bucket.back_up(), bucket.back_up()
    whole = bucket.import_export
    bucket.import_export = lambda _: whole(old)
    record = acts.attempt(drill, body, bucket, backup)
    assert record.verdict is Verdict.WRONG_DATA
    assert "state serial: is " in record.reason
    assert record.canaries.lost


def test_whatever_is_changed_or_missing_is_wrong_data_and_named(drilled):
    def change(bucket):
        s3 = bucket.subject.s3
        state = json.loads(s3.get(bucket.spec.key))
        state["lineage"] = "00000000-0000-0000-0000-000000000000"
        s3.request("PUT", bucket.spec.key, data=json.dumps(state).encode())
        bucket.subject.remove_lock()
        s3.request("PUT", "atlas/changed", data=b"changed")
        s3.request("DELETE", "atlas/deleted")
        # Of the same name, with another secret.
        bucket.bucket.delete_key("reader")
        bucket.bucket.create_key("reader", "read-only")

    found = acts.broken(drilled(after_import(change)))
    assert found["state lineage"].startswith("is 00000000-")
    assert any("tflock" in name for name in found)
    assert {"object atlas/changed", "object atlas/deleted"} <= found.keys()
    assert found["key reader"].startswith("other")


def test_a_missing_state_and_a_missing_key_are_wrong_data(drilled):
    def delete(bucket):
        bucket.subject.s3.delete(bucket.spec.key)
        bucket.bucket.delete_key("reader")

    found = acts.broken(drilled(after_import(delete)))
    assert "object atlas/terraform.tfstate" in found
    assert found["key reader"].startswith("gone")


def test_a_damaged_or_foreign_export_is_refused_on_arrival(make_bucket, tmp_path):
    _, bucket = make_bucket()
    export = bucket.back_up().tarball.path
    whole = export.read_bytes()
    file = tmp_path / "export.tar.gz"
    for part in (0.0, 0.2, 0.5, 0.8, 0.999):
        at = int(len(whole) * part)
        flipped = bytearray(whole)
        # Byte 4 to 9 of gzip's header say nothing of the content.
        flipped[at] ^= 0x40
        for content in (whole[:at], bytes(flipped)):
            file.write_bytes(content)
            with pytest.raises(BackupDamaged, match="export.tar.gz"):
                inspect(file, bucket=bucket.bucket.name)
    with pytest.raises(BackupDamaged, match="is a backup of bucket .*, not of another"):
        inspect(export, bucket="another")
