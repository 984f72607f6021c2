"""Sabotage: the real drills with one recovery spoiled, so that each verification is seen red."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import fixtures.recovery.after as after
import fixtures.recovery.service as verbs
from fixtures.errors import DrillError
from fixtures.evidence.record import DrillRecord
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import bucket_of, platform_of, stage_of
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
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 10.0)
    monkeypatch.setattr(after, "SOAK_SECONDS", 0.5)

    def run(body, name: str, scenario: str, sabotage: Sabotage) -> DrillRecord:
        drill, service = older(name, scenario)
        backup = service.back_up(scenario)
        sabotage(service, backup)
        try:
            body(drill, service, backup)
        except DrillError as error:
            drill.fail(error)
        drill.look_afterwards()
        return drill.record()

    return run


@pytest.fixture
def make_bucket(request, fleet, drill_project, s3, scratch):
    """Makes a bucket under drill with its drill, deployed; removed afterwards."""
    stage, made = stage_of(request.config), []

    def make():
        (spec,) = fleet.buckets
        drill = stage.new_drill(Planned(spec, "native"))
        bucket = bucket_of(stage, drill_project, spec, s3, drill, scratch)
        made.append(bucket)
        bucket.deploy()
        return drill, bucket

    yield make
    for bucket in made:
        bucket.remove()


@pytest.fixture
def make_platform(request, fleet, drill_project, s3, scratch):
    """Makes a small platform with its drill, deployed: two services and the state bucket."""
    stage, made = stage_of(request.config), []

    def make(scenario, *names):
        services = tuple(fleet.service(name) for name in names)
        small = fleet.model_copy(update={"services": services})
        drill = stage.new_drill(Planned(small, scenario))
        platform = platform_of(stage, small, drill, drill_project, s3, scratch)
        made.append(platform)
        platform.deploy()
        return drill, platform

    yield make
    for platform in made:
        platform.remove()
