"""One broker in the lab of the runbook, for many small runbooks of other shapes."""

import os
from pathlib import Path

import pytest

import drills.test_runbook as drilled
import fixtures.recovery.after as after
import fixtures.recovery.service as verbs
from fixtures.files import scratch_directory
from fixtures.fleet.model import RunbookMap
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import runbook_session
from fixtures.plugin.target import Requirements
from fixtures.runbook.perform import Sandbox
from fixtures.runbook.section import Performance, ServiceSection
from fixtures.runbook.text import parse_runbook
from tests.sabotage.acts import attempt

# As tests/sabotage does: the sections are about all services.
os.environ.setdefault("ATLAS_DRILLS_RECIPES", str(Path(__file__).parents[1] / "imitations"))

OF_EACH_SERVICE = ("-from-a-snapshot]", "-from-a-tarball]", "-without-its-data]")
"""Sections that are performed for each service by `./run drills`, and here for two of them."""


def pytest_collection_modifyitems(config, items):
    left_out = [
        item
        for item in items
        if item.path.parent == Path(__file__).parent
        and item.name.endswith(OF_EACH_SERVICE)
        and not any(f"[{name}-" in item.name for name in ("mosquitto", "step-ca"))
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What is not restored does not become healthy: no test waits long for it."""
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 10.0)
    monkeypatch.setattr(after, "SOAK_SECONDS", 0.5)
    monkeypatch.setattr("fixtures.services.mosquitto.SAVE_SECONDS", 3.0)


@pytest.fixture(scope="session")
def stage(pytestconfig):
    """The lab of the runbook, with the broker's image."""
    stage = runbook_session(pytestconfig)
    stage.wanted = stage.wanted or Requirements(frozenset({"mosquitto"}))
    stage.enter()
    stage.supply(Requirements(frozenset({"mosquitto"})))
    return stage


@pytest.fixture(scope="session")
def broker(stage, fleet):
    """A broker with canaries, and a snapshot of it."""
    spec, project = fleet.service("mosquitto"), stage.run.new_project(stage.reach().incus, 8)
    # Not that of the other tests, which make the same service.
    view = project.create(fleet.pool)
    with scratch_directory() as scratch:
        service = stage.new_service(view, spec, new_drill(stage, spec), scratch)
        service.deploy()
        also = ["install", "-o", "mosquitto", "-m", "600", "/dev/null", "/mosquitto/data/also"]
        service.instance.must_exec(also)
        yield service, service.back_up("snapshot")
    project.delete()


def new_drill(stage, spec, scenario="snapshot"):
    return stage.new_drill(Planned(spec, scenario, section="Restore"))


@pytest.fixture
def sandbox(stage):
    lab = stage.reach().lab
    sandbox = Sandbox(lab.command, lab.state_dir / "backups", lab.root())
    sandbox.open()
    yield sandbox
    sandbox.close()


@pytest.fixture
def performance(stage, broker, fleet, sandbox, tmp_path):
    """Return what performing takes, of a runbook that is a text."""

    def make(text, drill, **chart):
        chart = {"file": "runbook.md", "values": {"before": "{snapshot}"}, "sections": {}, **chart}
        by = Performance(
            parse_runbook(text),
            RunbookMap.model_validate(chart),
            fleet,
            tmp_path,
            sandbox,
            str(broker[0].incus.project),
            stage.run_passphrase,
            drill,
        )
        by.prepare()
        return by

    return make


@pytest.fixture
def perform(stage, broker, performance):
    """Perform the section `Restore` of a text after the loss of the broker's data."""
    service, backup = broker

    def run(text, **chart):
        drill = new_drill(stage, service.spec)
        stand_up(service, drill)
        by = performance(text, drill, **chart)
        section = ServiceSection(by, by.runbook.section("Restore"), service)
        section.backup = backup
        drill.take_backup(backup, software="mosquitto")
        return attempt(drill, drilled.test_section_recovers, section)

    return run


def stand_up(service, drill):
    """The broker runs, whatever a runbook has left of it."""
    service.drill = drill
    if not service.instance.exists():
        service.create_instance()
    if service.instance.status() != "Running":
        service.instance.start()
    service.instance.wait_until_usable()
    service.subject.rebind(service.instance)
