"""Runbook, "Service-Specific Backups" and "Restore Grafana Dashboards from JSON".

Loses:  the instance and its volume, in the drill project; Incus answers 404 for both.
Needs:  an image of the service; nothing of the source is touched.
Proves: what the service's own export holds (Grafana's dashboards and folders as JSON by its API,
        Prometheus' TSDB snapshot) goes into an empty service, outlives a restart and is there
        with its exact values. The report says what such an export never holds.
"""

import pytest

pytestmark = pytest.mark.native


def test_service_restored_from_its_own_export(drill, service, backup):
    """The service is rebuilt empty, and its own export put in."""
    with drill.phase("destroy"):
        service.destroy()
    with drill.phase("restore"):
        service.rebuild()
        service.import_native(backup)
    with drill.phase("start"):
        service.restart()
    with drill.phase("healthy"):
        service.wait_until_healthy()
    with drill.phase("verified"):
        service.must_hold(backup)
