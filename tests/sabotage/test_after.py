"""What is looked at when the clock has stopped, seen red for each of its verifications."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

import drills.test_existing_backups as existing_backups
import drills.test_rebuild as rebuild
import drills.test_restore_from_encrypted_tarball as encrypted_tarball
import drills.test_restore_from_snapshot as snapshot
import drills.test_restore_from_tarball as tarball
import fixtures.recovery.after as after
import tests.sabotage.acts as acts
from fixtures.errors import DrillError
from fixtures.evidence.verdict import Verdict
from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy
from fixtures.incus.instance import Instance
from fixtures.incus.project import empty
from fixtures.incus.volumes import Volume
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import backups_of, found_for, stage_of
from fixtures.recovery.backup import Form
from fixtures.recovery.provision import FromSource
from fixtures.services.mqtt import connected
from fixtures.services.registry import SERVICES
from fixtures.waiting import wait_until

FROM = {
    "snapshot": (snapshot.test_service_restored_from_snapshot, "restore_snapshot"),
    "tarball": (tarball.test_service_restored_from_tarball, "import_tarball"),
    "encrypted-tarball": (
        encrypted_tarball.test_service_restored_from_encrypted_tarball,
        "import_tarball",
    ),
}
PRODUCTION = "plays-production"


def broken(record):
    return {check.name: check.detail for check in record.checks if check.outcome == "broken"}


def on_its_volume(script, service, *_):
    """Run a script on the volume, below another instance: the service has not started on it."""
    helper = Instance(service.incus, "helper")
    data = {"type": "disk", "pool": service.volume.pool, "source": service.volume.name}
    helper.create(service.spec.image, {"data": {**data, "path": "/srv"}}, {})
    try:
        helper.start()
        helper.wait_until_usable()
        helper.must_exec(["sh", "-ec", f"cd /srv; {script}"])
    finally:
        helper.remove()


CHANGES = {
    "chown -R 0:0 01*": "is owned by 0:0, was by 1100:1100",
    "chgrp 0 wal": "wal is owned by 1100:0, was by 1100:1100",
    "chmod 0755 .": ". has mode 0755, had 0750",
    "chmod u+s wal/*": "has mode 4644, had 0644",
    "rm -r wbl": "wbl is missing",
    "touch \"$(printf 'extra\\nfile')\"": r"extra\nfile is there, and not in the backup",
    "touch \"$(printf 'no\\377text')\"": r"no\udcfftext is there, and not in the backup",
    "mv wbl w && ln -s w wbl": "wbl is a symbolic link to w, was a directory",
    "ln queries.active link": "link is there, and not in the backup",
    "echo more >> queries.active": "queries.active has 20006 bytes, had 20001",
}


@pytest.mark.parametrize("script", CHANGES)
@pytest.mark.parametrize("kind", ["snapshot", "tarball"])
def test_what_comes_back_in_another_way_than_the_backup_has_it_is_wrong_data(spoiled, kind, script):
    body, verb = FROM[kind]
    act = acts.after(verb, partial(on_its_volume, script))
    record = spoiled(body, "prometheus", kind, act)
    if script != "chmod 0755 .":
        # Of the root the drill itself has seen it, on the clock.
        assert CHANGES[script] in broken(record)[after.FILES]
        assert f"{after.FILES}: " in record.reason
    assert record.verdict is Verdict.WRONG_DATA


@pytest.mark.parametrize("name, kind", [("step-ca", "encrypted-tarball"), ("loki", "tarball")])
def test_a_database_that_all_may_read_and_chunks_of_root_are_wrong_data(spoiled, name, kind):
    body, verb = FROM[kind]
    script = "chmod 0644 .step/db/*" if name == "step-ca" else "chown -R 0:0 chunks/fake"
    record = spoiled(body, name, kind, acts.after(verb, partial(on_its_volume, script)))
    assert record.verdict is Verdict.WRONG_DATA
    told = "has mode 0644" if name == "step-ca" else "is owned by 0:0"
    assert told in broken(record)[after.FILES]


def test_an_export_in_the_pools_own_format_is_compared_too(older, monkeypatch):
    monkeypatch.setattr(after, "SOAK_SECONDS", 0.0)
    drill, service = older("prometheus", "tarball")
    backup = service.back_up("tarball", Form("none", optimized=True))
    acts.after("import_tarball", partial(on_its_volume, "chmod 0600 queries.active"))(
        service, backup
    )
    tarball.test_service_restored_from_tarball(drill, service, backup)
    drill.look_afterwards()
    assert "has mode 0600, had 0644" in broken(drill.record())[after.FILES]


def test_what_becomes_roots_while_it_runs_is_wrong_data(spoiled):
    def chown(service, backup):
        service.instance.must_exec(["sh", "-c", "chown -R 0:0 /loki/chunks"])

    body, _ = FROM["tarball"]
    record = spoiled(body, "loki", "tarball", acts.after("wait_until_healthy", chown))
    assert record.verdict is Verdict.WRONG_DATA
    assert "chunks is owned by 0:0" in record.reason


def unit_with(*settings):
    """The unit of the restored service has further settings."""

    def act(service, backup):
        service.instance.wait_until_usable()
        directory = f"/etc/systemd/system/{service.spec.unit}.service.d"
        service.instance.must_exec(["mkdir", "-p", directory])
        text = "\n".join(("[Service]", *settings, ""))
        service.instance.push(f"{directory}/sabotage.conf", text.encode())
        service.instance.must_exec(["systemctl", "daemon-reload"])
        service.instance.must_exec(["systemctl", "restart", service.spec.unit])

    return act


@pytest.mark.parametrize("kind", ["snapshot", "rebuild"])
def test_a_unit_that_ends_every_three_seconds_is_not_recovered(older, kind):
    drill, service = older("mosquitto", kind)
    backup = service.take_stock() if kind == "rebuild" else service.back_up(kind)
    verb = "start_empty" if kind == "rebuild" else "start"
    acts.after(verb, unit_with("RuntimeMaxSec=3", "Restart=always"))(service, backup)
    body = rebuild.test_service_rebuilt_without_its_data if kind == "rebuild" else FROM[kind][0]
    body(drill, service, backup)
    assert drill.record().verdict is Verdict.NOT_VERIFIED
    assert "the run ended before the service was looked at again" in drill.record().reason
    drill.look_afterwards()
    record = drill.record()
    assert record.verdict is Verdict.NOT_RECOVERED
    assert "did not stay up after it was healthy: unit mosquitto was restarted" in record.reason
    assert after.STAYS_UP in broken(record)


ENDS = {
    "systemctl stop mosquitto": "unit mosquitto is inactive",
    "systemctl restart mosquitto": "unit mosquitto was started anew",
    "systemctl kill -s KILL mosquitto; sleep 1": "unit mosquitto",
    "kill": "its instance is Stopped",
}


@pytest.mark.parametrize("how", ENDS)
def test_a_service_that_goes_after_it_was_verified_is_not_recovered(spoiled, how, monkeypatch):
    def end(service, backup):
        drill = service.drill
        begin = after.Afterwards.begin

        def begun(self):
            begin(self)
            if how == "kill":
                service.instance.kill()
            else:
                service.instance.exec(["sh", "-c", how])

        monkeypatch.setattr(after.Afterwards, "begin", begun)
        assert drill.afterwards == []

    record = spoiled(FROM["snapshot"][0], "mosquitto", "snapshot", end)
    assert record.verdict is Verdict.NOT_RECOVERED
    assert ENDS[how] in record.reason


def test_a_server_that_cannot_be_asked_is_not_verified(spoiled, monkeypatch):
    def mute(service, backup):
        def exec(argv, **_):
            if argv[:2] == ["systemctl", "show"]:
                raise DrillError("no answer")
            return whole(argv, **_)

        whole = service.instance.exec
        service.instance.exec = exec

    record = spoiled(FROM["snapshot"][0], "mosquitto", "snapshot", mute)
    assert record.verdict is Verdict.NOT_VERIFIED
    assert f"{after.STAYS_UP}: " in record.reason


@pytest.fixture
def production(pytestconfig, drill_project, fleet):
    """A source of the test's own, with one service whose data can be put anywhere."""
    socket = str(drill_project.endpoint)
    owner = Incus(socket, OwnServerPolicy(socket))
    features = {f"features.{f}": "true" for f in ("profiles", "storage.volumes", "storage.buckets")}
    config = {**features, "features.images": "false"}
    owner.post("projects", body={"name": PRODUCTION, "config": config})
    view = owner.within(PRODUCTION)
    root = {"root": {"type": "disk", "path": "/", "pool": fleet.pool}}
    view.put("profiles", "default", body={"devices": root})

    def make(name):
        spec = fleet.service(name)
        data = spec.volumes[0]
        config = {"initial.uid": str(data.owner.uid), "initial.gid": str(data.owner.gid)}
        volume = Volume(view, fleet.pool, data.name)
        volume.create({"size": "50MiB", "initial.mode": data.mode, **config})
        device = {"type": "disk", "pool": fleet.pool, "source": data.name, "path": data.path}
        instance = Instance(view, spec.instance)
        instance.create(spec.image, {data.device: device}, {})
        instance.start()
        instance.wait_until_usable()
        return instance, volume

    yield make
    assert empty(view) == []
    owner.delete("projects", PRODUCTION)


@pytest.fixture
def drilled(pytestconfig, fleet, make_service, drill_project, monkeypatch):
    """Drills the newest snapshot of `production`, by a copy of its instance."""
    monkeypatch.setattr(after, "SOAK_SECONDS", 0.0)

    def run(name, **expect):
        stage = stage_of(pytestconfig)
        spec = fleet.service(name).model_copy(update={"provision": "copy", "expect": expect})
        source = drill_project.source(PRODUCTION)
        place = replace(backups_of(stage), incus=source, places=())
        drill = stage.new_drill(Planned(spec, "snapshot", "existing"))
        found = found_for(drill, spec, place, make_service)
        found.service.provisioner = FromSource(PRODUCTION)
        try:
            existing_backups.restored(drill, found)
        except DrillError as error:
            drill.fail(error)
        drill.look_afterwards()
        found.service.remove()
        return drill.record()

    return run


def publish(instance, number):
    with connected(lambda: instance.dial(1883, patience=5)) as client:
        for n in range(number):
            client.publish(f"plant/{n}", b"running", 1, retain=True)


def test_a_broker_whose_data_is_on_the_root_disk_is_wrong_data(production, drilled):
    instance, volume = production("mosquitto")
    move = (
        "systemctl stop mosquitto; install -d -o mosquitto -g mosquitto /var/lib/mq; "
        "sed -i 's,^persistence_location.*,persistence_location /var/lib/mq/,' "
        "$(grep -rl ^persistence_location /etc/mosquitto); systemctl start mosquitto"
    )
    instance.must_exec(["sh", "-ec", move])
    publish(instance, 5)
    instance.must_exec(["systemctl", "restart", "mosquitto"])
    volume.snapshot("nightly")
    record = drilled("mosquitto", **{"retained messages": 5})
    assert record.verdict is Verdict.WRONG_DATA
    told = "retained messages: plant/0"
    assert told in broken(record)[after.WITHOUT]
    assert "live on the root disk, which no backup of this service holds" in record.reason


def test_an_alertmanager_whose_data_is_on_the_root_disk_is_wrong_data(production, drilled, fleet):
    instance, volume = production("alertmanager")
    move = (
        "systemctl stop alertmanager; install -d -o alertmanager -g alertmanager /var/lib/am; "
        "sed -i 's,/var/lib/alertmanager,/var/lib/am,' "
        "$(grep -rl storage.path=/var/lib/alertmanager /etc 2>/dev/null | head -n 3); "
        "systemctl daemon-reload; systemctl start alertmanager"
    )
    instance.must_exec(["sh", "-ec", move])
    subject = SERVICES["alertmanager"](fleet.service("alertmanager"), instance)
    wait_until(subject.look_healthy, label="alertmanager", timeout=20)
    subject.write_canaries("live")
    subject.hang_up()
    instance.must_exec(["systemctl", "restart", "alertmanager"])
    volume.snapshot("nightly")
    record = drilled("alertmanager", silences=2)
    assert record.verdict is Verdict.WRONG_DATA
    assert "silences: " in broken(record)[after.WITHOUT]


def test_a_broker_whose_data_is_on_its_volume_is_recovered(production, drilled):
    instance, volume = production("mosquitto")
    publish(instance, 5)
    instance.must_exec(["systemctl", "restart", "mosquitto"])
    volume.snapshot("nightly")
    record = drilled("mosquitto", **{"retained messages": 5})
    assert record.verdict is Verdict.RECOVERED, record.reason


@pytest.mark.parametrize("name", ["prometheus", "loki", "step-ca", "alertmanager", "mosquitto"])
def test_a_copy_of_each_service_of_the_lab_is_recovered(
    pytestconfig, fleet, make_service, drill_project, name, monkeypatch
):
    monkeypatch.setattr(after, "SOAK_SECONDS", 0.0)
    stage = stage_of(pytestconfig)
    spec = fleet.service(name).model_copy(update={"provision": "copy"})
    drill = stage.new_drill(Planned(spec, "snapshot", "existing"))
    found = found_for(drill, spec, backups_of(stage), make_service)
    existing_backups.restored(drill, found)
    drill.look_afterwards()
    record = drill.record()
    assert record.verdict is Verdict.RECOVERED, record.reason
    held = [check.name for check in record.checks if check.outcome == "held"]
    assert {after.STAYS_UP, after.FILES, after.FILES_NOW, after.OUTSIDE, after.WITHOUT} <= {*held}
