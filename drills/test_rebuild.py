"""Runbook, "Option 1: Rebuild from Terraform (data loss)", for every service.

Loses:  the instance and its volume, in the drill project, and with them all data, for good.
Needs:  an image of the service; nothing of the source is touched.
Proves: the service comes back empty but whole: healthy within its target, nothing of before in
        it, and it takes and keeps new data. The report lists what was lost.
"""

import pytest

pytestmark = pytest.mark.rebuild


def test_service_rebuilt_without_its_data(drill, service, stock):
    """Instance and volume are deleted and made anew; no backup is touched."""
    with drill.phase("destroy"):
        service.destroy()
    with drill.phase("restore"):
        service.rebuild()
    with drill.phase("start"):
        service.start_empty()
    with drill.phase("healthy"):
        service.wait_until_healthy()
    with drill.phase("verified"):
        service.must_be_new(stock)
