"""Sabotage: the real drills with one recovery spoiled, so that each verification is seen red.

A service is deployed and backed up once for many tests. What it was then is kept in a volume of its
own, and put back by a copy of it (copy-on-write), which costs no more than a start.
"""

import os
import shutil
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest

import fixtures.recovery.after as after
import fixtures.recovery.service as verbs
from fixtures.files import scratch_directory
from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy
from fixtures.incus.instance import Instance
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import backup_locations, session_of
from fixtures.recovery.drill import remove_all
from fixtures.recovery.service import ServiceUnderDrill
from tests.sabotage.acts import attempt

# Grafana and Atlantis are imitated here: these tests are about the reading of their classes.
os.environ.setdefault("ATLAS_DRILLS_RECIPES", str(Path(__file__).parents[1] / "imitations"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What is spoiled does not become healthy: no test waits long for it."""
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 10.0)
    monkeypatch.setattr(after, "SOAK_SECONDS", 0.5)
    monkeypatch.setattr("fixtures.services.mosquitto.SAVE_SECONDS", 3.0)
    monkeypatch.setattr("fixtures.recovery.bucket.HEALTHY_SECONDS", 4.0)


@pytest.fixture
def place(pytestconfig, drill_project, tmp_path):
    """The source's backups, their files as a copy that may be spoiled."""
    where = backup_locations(session_of(pytestconfig))
    return replace(where, places=(shutil.copytree(where.places[0], tmp_path / "backups"),))


@pytest.fixture
def owner(pytestconfig, drill_project, fleet):
    """The source as its owner sees it, who may change it."""
    socket = str(drill_project.endpoint)
    return Incus(socket, OwnServerPolicy(socket), project=fleet.source_project)


class Kept:
    """A service as it was when it was backed up; at rest it is a volume alone.

    It was deployed, and has snapshot `older` from before its newest canaries.
    """

    def __init__(self, service, backup):
        self.service, self.backup = service, backup
        self.copy = service.volume.sibling(f"{service.volume.name}-{backup.kind}-kept")
        self.file = backup.tarball.path if backup.tarball else backup.export
        if self.file:
            shutil.copy(self.file, f"{self.file}.kept")
        service.subject.close()
        service.instance.stop()
        service.volume.snapshot("newer")
        _copy_all(service.volume, self.copy)
        service.remove()

    def put_back(self, drill):
        """The service runs again, as it was; nothing of an earlier sabotage is left."""
        service = copy(self.service)
        service.drill, service.extra_volumes = drill, []
        service.held, service.reference, service.kept_at = list(service.held), None, None
        service.instance = Instance(service.incus, service.spec.instance)
        service.subject.rebind(service.instance)
        if self.file:
            shutil.copy(f"{self.file}.kept", self.file)
        _copy_all(self.copy, service.volume)
        service.create_instance()
        service.instance.start()
        service.instance.wait_until_usable()
        backup = replace(self.backup, later=list(self.backup.later))
        drill.take_backup(backup, software="as it was deployed")
        drill.not_looked_at.extend(service.subject.not_looked_at(drill.scenario, drill.origin))
        verbs.read_pool_driver(service)
        return service, backup


def _copy_all(source, target):
    """Copy a volume with its snapshots."""
    order = {"type": "copy", "name": source.name, "pool": source.pool}
    body = {"name": target.name, "type": "custom", "source": order}
    source.incus.post(*source._all, body=body)


def _deploy(stage, project, drill, spec, place):
    """A service with a backup of it, for which it stood still; its drill's own is none of it."""
    place.mkdir(exist_ok=True)
    pool, provisioner = stage.run.fleet.pool, stage.provisioner(spec)
    service = ServiceUnderDrill(project, spec, drill, place, pool, provisioner)
    try:
        service.deploy()
        service.volume.snapshot("older")
        service.held.extend(service.subject.write_canaries("newest"))
        kind = drill.scenario
        return Kept(service, service.note_loss() if kind == "rebuild" else service.back_up(kind))
    except BaseException:
        service.remove()
        raise


@pytest.fixture(scope="session")
def all_kept(drill_project):
    """Every service that was deployed for these tests, by name and kind of backup."""
    found = {}
    with scratch_directory() as scratch:
        yield found, scratch
        remove_all("kept services", (kept.copy.remove for kept in found.values()))


@pytest.fixture
def deployed(request, all_kept, fleet, drill_project, own_project):
    """Gives a service with a drill and its backup: (drill, service, backup); removed afterwards.

    The canaries `newest` were written after snapshot `older`; snapshot `newer` also holds what was
    written after the backup.
    """
    stage, (found, scratch), used = session_of(request.config), all_kept, {}

    def get(name, kind):
        spec, this = fleet.service(name), (name, kind)
        drill = stage.new_drill(Planned(spec, kind))
        # A full rebuild removes the drill project, and what was kept in it.
        if this not in found or not found[this].copy.exists():
            found[this] = _deploy(stage, drill_project, drill, spec, scratch / f"{name}-{kind}")
        if this in used:
            used[this].remove()
        used[this], backup = found[this].put_back(drill)
        return drill, used[this], backup

    yield get
    remove_all("the test", (service.remove for service in used.values()))


@pytest.fixture
def healthy(deployed):
    """Gives a healthy service without a loss."""

    def get(name, kind="snapshot"):
        _, service, _ = deployed(name, kind)
        service.wait_until_healthy()
        return service

    return get


@pytest.fixture
def spoiled(deployed):
    """Runs a drill's own body on a sabotaged service and returns its evidence."""

    def run(body, name, kind, sabotage):
        drill, service, backup = deployed(name, kind)
        sabotage(service, backup)
        return attempt(drill, body, service, backup)

    return run


@pytest.fixture
def made():
    """Parts to remove after the test."""
    parts = []
    yield parts
    remove_all("the test", (part.remove for part in parts))


@pytest.fixture
def make_bucket(request, fleet, drill_project, scratch, made):
    """Makes a bucket under drill with its drill, deployed."""
    stage, (spec,) = session_of(request.config), fleet.buckets

    def make():
        drill = stage.new_drill(Planned(spec, "native"))
        bucket = stage.new_bucket(drill_project, spec, drill, scratch)
        made.append(bucket)
        bucket.deploy()
        return drill, bucket

    return make
