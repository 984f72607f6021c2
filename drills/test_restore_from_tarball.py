"""Runbook, "Option 3: Restore from Backup Tarball", for every service.

Loses:  the instance and its volume, in the drill project; Incus answers 404 for both.
Needs:  an image of the service; nothing of the source is touched.
Proves: the tarball is readable to its last byte and is this volume's; imported, the service is
        healthy within its target, holds every canary that the tarball held with its exact
        value, and none that was written after it.
"""

import pytest

pytestmark = pytest.mark.tarball


def test_service_restored_from_tarball(drill, service, backup):
    """Instance and volume are deleted, the volume imported, the instance made anew on it."""
    with drill.phase("destroy"):
        service.destroy()
    with drill.phase("restore"):
        service.import_tarball(backup)
    with drill.phase("start"):
        service.start()
    with drill.phase("healthy"):
        service.wait_until_healthy()
    with drill.phase("verified"):
        service.must_hold(backup)


@pytest.mark.variant("new-volume")
def test_service_restored_from_tarball_as_new_volume(drill, service, backup):
    """The runbook's "Import a volume backup": a second volume, beside the damaged one."""
    with drill.phase("destroy"):
        service.destroy_data()
    with drill.phase("restore"):
        service.import_as_new_volume(backup)
    with drill.phase("start"):
        service.start()
    with drill.phase("healthy"):
        service.wait_until_healthy()
    with drill.phase("verified"):
        service.must_hold(backup)
