"""Runbook, "Export Volume to Tarball": each compression that Incus offers, and the pool's format.

Loses:  the instance and its volume, in the drill project, once for each kind of tarball.
Needs:  an image of the fleet's first service that has tarballs.
Proves: a tarball of each kind is readable to its last byte and brings the data back. The report
        says what each kind costs: how fast it exports and imports the same data, how large it is.
"""

import pytest

pytestmark = pytest.mark.tarball


@pytest.mark.each_form
def test_service_restored_from_each_kind_of_tarball(drill, service, weighed_backup):
    """The same data, exported in another way each time."""
    with drill.phase("destroy"):
        service.destroy()
    with drill.phase("restore"):
        service.import_tarball(weighed_backup)
    with drill.phase("start"):
        service.start()
    with drill.phase("healthy"):
        service.wait_until_healthy()
    with drill.phase("verified"):
        service.must_hold(weighed_backup)
