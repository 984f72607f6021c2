"""Runbook, "Data Restoration" and "Disaster Recovery Drill": the backups that really are there.

Loses:  nothing: the drill project is empty, as a new machine; Incus answers 404 for all of it.
Needs:  the source project and its directory of backups, which are only read (Grafana: a token).
Proves: the newest backup of each kind is whole, restores, starts within its target, isolated from
        the world, and holds what the source held when it was made, as the note beside it tells (or
        the live service, or the fleet file); the age of its data is within its schedule.
"""

import pytest

pytestmark = pytest.mark.existing


@pytest.mark.snapshot
def test_newest_snapshot_of_the_source(drill, existing):
    """The snapshot is copied out of the source project, and the service started on the copy."""
    restored(drill, existing)


@pytest.mark.tarball
def test_newest_tarball_of_the_source(drill, existing):
    """The tarball is compared with its note, read to its end, and imported."""
    restored(drill, existing)


@pytest.mark.encrypted_tarball
def test_newest_encrypted_tarball_of_the_source(drill, existing):
    """The tarball is decrypted on its way into Incus."""
    restored(drill, existing)


@pytest.mark.native
def test_newest_native_export_of_the_source(drill, existing):
    """The service's own export is put into an empty service."""
    restored(drill, existing)


@pytest.mark.native
def test_newest_bucket_export_of_the_source(drill, existing_bucket):
    """The export is imported beside its live original, under another name and with fresh keys."""
    restored(drill, existing_bucket)


def restored(drill, existing):
    """The same five steps for every kind."""
    with drill.phase("destroy"):
        existing.must_be_absent()
    with drill.phase("restore"):
        existing.restore()
    with drill.phase("start"):
        existing.start()
    with drill.phase("healthy"):
        existing.wait_until_healthy()
    with drill.phase("verified"):
        existing.must_hold_what_the_source_held()
