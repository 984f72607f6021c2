"""Runbook, "Option 2: Restore from Snapshot (no data loss)", for every service.

Loses:  all that is on the service's volume, and the running instance, in the drill project.
Needs:  an image of the service; nothing of the source is touched.
Proves: the service is healthy again within its target, holds every canary that the snapshot
        held with its exact value, and none that was written after it.
"""

import pytest

pytestmark = pytest.mark.snapshot


def test_service_restored_from_snapshot(drill, service, backup):
    """The volume is emptied, put back to its snapshot, and the service started on it."""
    with drill.phase("destroy"):
        service.destroy_data()
    with drill.phase("restore"):
        service.restore_snapshot(backup)
    with drill.phase("start"):
        service.start()
    with drill.phase("healthy"):
        service.wait_until_healthy()
    with drill.phase("verified"):
        service.must_hold(backup)
