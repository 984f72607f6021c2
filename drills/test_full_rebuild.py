"""Runbook, "Full Infrastructure Rebuild": everything is gone, and only the backups are left.

Loses:  every instance, volume and bucket of the fleet and the drill project itself.
Needs:  images of the services, Incus' S3 and OpenTofu; nothing of the source is touched.
Proves: in the runbook's order (bootstrap, state, apply, volumes, start, verify) every service
        comes up after those that it needs, healthy within the target of the whole, holding every
        canary of its tarball; or, without data, empty but whole, with a list of what was lost.
"""

import pytest


@pytest.mark.full_rebuild_with_data
def test_full_rebuild_with_data(drill, platform, backups):
    """From nothing but tarballs and the export of the state."""
    with drill.phase("destroy"):
        platform.destroy()
    with drill.phase("restore"):
        platform.bootstrap()
        platform.restore_state(backups)
        platform.apply()
        platform.restore_volumes(backups)
    with drill.phase("start"):
        platform.start()
    with drill.phase("healthy"):
        platform.wait_until_healthy()
    with drill.phase("verified"):
        platform.must_hold(backups)


@pytest.mark.full_rebuild
def test_full_rebuild_without_data(drill, platform, stocks):
    """From nothing but the export of the state: the services' data is given up."""
    with drill.phase("destroy"):
        platform.destroy()
    with drill.phase("restore"):
        platform.bootstrap()
        platform.restore_state(stocks)
        platform.apply()
    with drill.phase("start"):
        platform.start_empty()
    with drill.phase("healthy"):
        platform.wait_until_healthy()
    with drill.phase("verified"):
        platform.must_be_new(stocks)
