"""Runbook, "Terraform State Backup": the bucket that holds OpenTofu's state, from its export.

Loses:  the bucket, in the drill project: its objects and its keys; Incus answers 404 for it.
Needs:  Incus' S3 (`core.storage_buckets_address`) and OpenTofu; nothing of the source is touched.
Proves: the export is readable to its last byte and is this bucket's; imported, serial and lineage
        are those of the export, `tofu plan` finds no changes, a lock that lay in it is there
        again, and the keys of before work.
"""

import pytest

pytestmark = pytest.mark.native


def test_state_bucket_restored_from_export(drill, bucket, bucket_export):
    """The bucket is deleted, and its export imported."""
    with drill.phase("destroy"):
        bucket.destroy()
    with drill.phase("restore"):
        bucket.import_export(bucket_export)
    with drill.phase("start"):
        bucket.reconnect()
    with drill.phase("healthy"):
        bucket.wait_until_healthy()
    with drill.phase("verified"):
        bucket.must_hold(bucket_export)
