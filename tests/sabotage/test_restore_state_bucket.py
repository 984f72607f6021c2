"""The drill of the state bucket, seen red for each of its verifications."""

from __future__ import annotations

import json

import pytest

import drills.test_restore_state_bucket as runbook
from fixtures.backups.bucket_export import inspect
from fixtures.errors import BackupDamaged, DrillError
from fixtures.evidence.verdict import Verdict

body = runbook.test_state_bucket_restored_from_export


@pytest.fixture
def drilled(make_bucket, monkeypatch):
    """Runs the drill's body on a sabotaged bucket and returns its evidence."""
    monkeypatch.setattr("fixtures.recovery.bucket.HEALTHY_SECONDS", 4.0)

    def run(sabotage):
        drill, bucket = make_bucket()
        export = bucket.back_up()
        sabotage(bucket, export)
        try:
            body(drill, bucket, export)
        except DrillError as error:
            drill.fail(error)
        return drill.record()

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


def test_a_forgotten_import_is_not_recovered(drilled):
    def sabotage(bucket, export):
        bucket.import_export = lambda _: None

    drill = drilled(sabotage)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "-state healthy: not within" in drill.reason
    assert "NoSuchBucket" in drill.reason


def test_an_older_state_is_wrong_data(make_bucket):
    drill, bucket = make_bucket()
    old = bucket.back_up()
    backup = bucket.back_up()
    whole = bucket.import_export
    bucket.import_export = lambda _: whole(old)
    try:
        body(drill, bucket, backup)
    except DrillError as error:
        drill.fail(error)
    record = drill.record()
    assert record.verdict is Verdict.WRONG_DATA
    assert "state serial: is " in record.reason
    assert record.canaries.lost


def test_a_state_of_another_lineage_is_wrong_data(drilled):
    def change(bucket):
        state = json.loads(bucket.subject.s3.get(bucket.spec.key))
        state["lineage"] = "00000000-0000-0000-0000-000000000000"
        data = json.dumps(state).encode()
        bucket.subject.s3.ask("PUT", bucket.spec.key, data=data)

    drill = drilled(after_import(change))
    assert drill.verdict is Verdict.WRONG_DATA
    assert "state lineage: is 00000000-" in drill.reason


def test_a_bucket_without_its_state_is_wrong_data(drilled):
    drill = drilled(after_import(lambda bucket: bucket.subject.s3.delete(bucket.spec.key)))
    assert drill.verdict is Verdict.WRONG_DATA
    assert "object atlas/terraform.tfstate" in drill.reason


def test_a_lock_that_does_not_come_back_is_wrong_data(drilled):
    drill = drilled(after_import(lambda bucket: bucket.subject.remove_lock()))
    assert drill.verdict is Verdict.WRONG_DATA
    assert "tflock" in drill.reason


def test_a_key_that_is_missing_is_wrong_data(drilled):
    drill = drilled(after_import(lambda bucket: bucket.bucket.delete_key("reader")))
    assert drill.verdict is Verdict.WRONG_DATA
    assert "key reader: gone" in drill.reason


def test_a_key_of_the_same_name_with_another_secret_is_wrong_data(drilled):
    def change(bucket):
        bucket.bucket.delete_key("reader")
        bucket.bucket.create_key("reader", "read-only")

    drill = drilled(after_import(change))
    assert drill.verdict is Verdict.WRONG_DATA
    assert "key reader: other" in drill.reason


def test_an_admin_key_that_works_no_more_is_not_recovered(drilled):
    def change(bucket):
        admin = next(key for key in bucket.keys if key.role == "admin")
        bucket.bucket.delete_key(admin.name)

    drill = drilled(after_import(change))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "-state healthy: not within" in drill.reason
    assert "InvalidAccessKeyId" in drill.reason


@pytest.mark.parametrize("verb", ["DELETE", "PUT"])
def test_any_object_that_is_missing_or_changed_is_wrong_data(make_bucket, verb):
    drill, bucket = make_bucket()
    bucket.subject.s3.ask("PUT", "atlas/other", data=b"whole")
    backup = bucket.back_up()
    act = after_import(lambda bucket: bucket.subject.s3.ask(verb, "atlas/other", data=b"changed"))
    act(bucket, backup)
    try:
        body(drill, bucket, backup)
    except DrillError as error:
        drill.fail(error)
    record = drill.record()
    assert record.verdict is Verdict.WRONG_DATA
    assert "object atlas/other: is " in record.reason
    assert not record.canaries.lost


def test_an_export_that_rots_is_not_imported(drilled):
    def sabotage(bucket, export):
        data = bytearray(export.tarball.path.read_bytes())
        data[len(data) // 2] ^= 1
        export.tarball.path.write_bytes(data)

    drill = drilled(sabotage)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "is damaged: its sha256 is" in drill.reason


def test_a_damaged_or_foreign_export_is_refused_on_arrival(make_bucket, tmp_path):
    _drill, bucket = make_bucket()
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
