"""Runbook, "Full Infrastructure Rebuild": everything is gone, and only the backups are left.

Loses:  every instance, volume and bucket of the fleet and the drill project itself.
Needs:  images of the services, Incus' S3 and OpenTofu; nothing of the source is touched.
Proves: in the runbook's order (bootstrap, state, apply, volumes, start, verify) every service
        comes up after those that it needs, healthy within the target of the whole, holding every
        canary of its tarball; or, without data, empty but whole, with a list of what was lost; or
        from the backups that exist, as each service's own drill proves it, and between them: a
        member that has none fails alone, with those that need it.
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


@pytest.mark.existing
@pytest.mark.full_rebuild_with_data
def test_full_rebuild_from_the_backups_that_exist(drill, existing_platform):
    """From nothing but what the operator really has, in the order of dependency."""
    with drill.phase("destroy"):
        existing_platform.must_be_absent()
    with drill.phase("restore"):
        existing_platform.restore()
    with drill.phase("start"):
        existing_platform.start()
    with drill.phase("healthy"):
        existing_platform.wait_until_healthy()
    with drill.phase("verified"):
        existing_platform.must_hold_what_the_source_held()


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
