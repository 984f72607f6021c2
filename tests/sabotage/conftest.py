"""Sabotage: the real drills with one recovery spoiled, so that each verification is seen red."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import fixtures.recovery.service as verbs
from fixtures.errors import DrillError
from fixtures.evidence.record import DrillRecord
from fixtures.recovery.backup import Backup
from fixtures.recovery.service import ServiceUnderDrill

Sabotage = Callable[[ServiceUnderDrill, Backup], None]


@pytest.fixture
def older(make_service):
    """Makes a service with an older generation of data: (drill, service, older snapshot name).

    The canaries of the drill are written after that snapshot, so that restoring it loses them.
    """

    def make(name, scenario):
        drill, service = make_service(name, scenario)
        service.deploy()
        service.volume.snapshot("older")
        service.held.extend(service.subject.write_canaries("newest"))
        return drill, service

    return make


@pytest.fixture
def spoiled(older, monkeypatch):
    """Runs a drill's own body on a sabotaged service and returns its evidence."""
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 6.0)

    def run(body, name: str, scenario: str, sabotage: Sabotage) -> DrillRecord:
        drill, service = older(name, scenario)
        backup = service.back_up(scenario)
        sabotage(service, backup)
        try:
            body(drill, service, backup)
        except DrillError as error:
            drill.fail(error)
        return drill.record()

    return run
