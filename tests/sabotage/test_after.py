"""The checks after the clock has stopped, seen red for each of them."""

from dataclasses import replace

import pytest

import drills.test_restore_from_snapshot as snapshot
import drills.test_restore_from_tarball as tarball
import fixtures.recovery.after as after
import tests.sabotage.acts as acts
from fixtures.errors import IncusError
from fixtures.evidence.record import Verdict
from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy
from fixtures.incus.instance import Instance
from fixtures.incus.project import empty
from fixtures.incus.volumes import Volume
from fixtures.plugin.fixtures import backup_locations, session_of
from fixtures.recovery.drill import Form
from fixtures.recovery.provision import FromSource
from fixtures.services.mosquitto import connected

FROM = {
    "snapshot": (snapshot.test_service_restored_from_snapshot, "restore_snapshot"),
    "tarball": (tarball.test_service_restored_from_tarball, "import_tarball"),
}
PRODUCTION = "plays-production"


def on_its_volume(script):
    """Run a script on the volume, below another instance: the service has not started on it.

    The volume is kept at once: while the service boots, a busy machine may be too late.
    """

    def act(service, *_):
        helper = Instance(service.incus, "helper")
        data = {"type": "disk", "pool": service.volume.pool, "source": service.volume.name}
        # Not /srv: Debian's systemd-tmpfiles gives that another mode, if it comes so far.
        helper.create(service.spec.image, {"data": {**data, "path": "/its-volume"}}, {})
        try:
            helper.start()
            helper.wait_until_usable()
            helper.must_exec(["sh", "-ec", f"cd /its-volume; {script}"])
        finally:
            helper.remove()
        service._keep_as_restored()
        service._is_fresh = False

    return act


ATTRIBUTES = r"""perl -e '
$number = `uname -m` =~ /x86_64/ ? 188 : 5;
sub set {
    my ($file, $name, $value) = @_;
    syscall($number, $file, $name, $value, length $value, 0) == 0 or die "$name: $!";
}
set("other", "user.kept", "one\n=\0\377");
set("file", "system.posix_acl_access", pack("V(vvV)*", 2, 1,6,-1, 2,6,7, 4,4,-1, 16,6,-1, 32,0,-1));
set(".", "system.posix_acl_default", pack("V(vvV)*", 2, 1,7,-1, 4,5,-1, 32,5,-1));
'"""
PLANTED = rf"""
mkdir planted; cd planted
echo content > file; ln file link; echo content > other; mkfifo pipe; ln -s 'to no one' symbolic
touch "$(printf 'odd\nname\377')"
truncate -s 4M sparse; printf data | dd of=sparse bs=1 seek=3000000 conv=notrunc
touch -d @1700000000.6 file; touch -h -d @1600000000.4 symbolic
{ATTRIBUTES}
chown -Rh --reference=.. .
"""
"""What an export has to keep, next to the files of a service."""
CHANGES = {
    "chown 0:0 01*": "is owned by 0:0, was by 1100:1100",
    "chgrp 0 wal": "wal is owned by 1100:0, was by 1100:1100",
    "chmod u+s wal/*": "has mode 4644, had 0644",
    "touch \"$(printf 'no\\377text')\"": r"no\udcfftext is there, and not in the backup",
    "mv wbl w && ln -s w wbl": "wbl is a symbolic link to w, was a directory",
    "cd planted; rm pipe": "planted/pipe is missing",
    "touch -r other /tmp/as; printf C | dd of=other conv=notrunc; touch -r /tmp/as other": (
        "planted/other has other content"
    ),
    "cp -a link copy; mv copy link": "planted/file is no hard link to planted/link, was one",
}
"""tests/unit/test_listing.py has every other difference."""


@pytest.fixture
def planted(deployed):
    """A drill of Prometheus with a new backup, which holds `PLANTED` as well."""

    def plant(kind, form=None):
        drill, service, _ = deployed("prometheus", kind)
        service.wait_until_healthy()
        path = service.spec.volumes[0].path
        service.instance.must_exec(["sh", "-ec", f"cd {path}; {PLANTED}"])
        return drill, service, service.back_up(kind, form)

    return plant


@pytest.mark.parametrize("kind", ["snapshot", "tarball"])
def test_what_comes_back_otherwise_than_the_backup_has_it_is_wrong_data(planted, kind, monkeypatch):
    monkeypatch.setattr("fixtures.backups.tarball.MAX_FAULTS", 60)
    body, verb = FROM[kind]
    drill, service, backup = planted(kind)
    acts.after(verb, on_its_volume("; ".join(CHANGES)))(service, backup)
    found = acts.broken(acts.attempt(drill, body, service, backup))[after.FILES]
    assert [change for change in CHANGES.values() if change not in found] == [], found


def test_one_difference_is_all_that_is_told_of_a_good_restore(planted):
    drill, service, backup = planted("tarball", Form("none", optimized=True))
    acts.after("import_tarball", on_its_volume("chmod 0600 queries.active"))(service, backup)
    record = acts.attempt(drill, FROM["tarball"][0], service, backup)
    assert acts.broken(record)[after.FILES] == "queries.active has mode 0600, had 0644"


def test_on_a_pool_that_copies_a_second_import_is_compared(planted):
    drill, service, backup = planted("tarball")
    service.is_instant = False
    record = acts.attempt(drill, FROM["tarball"][0], service, backup)
    acts.must_be(record, Verdict.RECOVERED)
    assert after.FILES in {check.name for check in record.checks if check.outcome == "held"}
    assert f"{after.FILES}: {after.NO_INSTANT}" in record.notes
    contents = backup.inspection.listing.contents
    contents[next(iter(contents))] = bytes(32)
    checks = after.Checks(drill)
    after.AfterChecks(service, backup)._check_files(checks)
    assert "has other content" in checks.broken[0]


def test_what_becomes_roots_while_it_runs_is_wrong_data(spoiled):
    act = acts.after("wait_until_healthy", acts.shell("chown 0:0 /prometheus/01*/index"))
    found = acts.broken(spoiled(FROM["tarball"][0], "prometheus", "tarball", act))
    assert "/index is owned by 0:0" in found[after.FILES_NOW]


def not_kept(service, backup):
    service._keep_as_restored = lambda: service.drill.note("planted")


def kept_late(service, backup):
    """So that the service may have made the difference."""
    act = on_its_volume("touch extra; chown --reference=. extra")
    acts.after("restore_snapshot", act)(service, backup)
    acts.after("wait_until_healthy", lambda *_: setattr(service, "kept_at", 1e12))(service, backup)


def mute(service, backup):
    """Incus cannot be asked for the unit."""
    whole = service.instance.exec

    def exec(argv, **more):
        if argv[:2] == ["systemctl", "show"]:
            raise IncusError("no answer")
        return whole(argv, **more)

    service.instance.exec = exec


def at_the_end(script):
    """Run a script once the service was verified."""

    def sabotage(service, backup):
        def begin(checks):
            BEGIN(checks)
            service.instance.exec(["sh", "-c", script])

        after.AfterChecks.begin = begin

    return sabotage


BEGIN = after.AfterChecks.begin
UNSEEN, FAILED = Verdict.NOT_VERIFIED, Verdict.NOT_RECOVERED


ROWS = [
    (not_kept, UNSEEN, f"service mosquitto: {after.FILES}: "),
    (kept_late, UNSEEN, "extra is there", after.TOO_LATE),
    (mute, UNSEEN, f"{after.STAYS_UP}: "),
    (at_the_end("systemctl stop mosquitto"), FAILED, "unit mosquitto is inactive"),
    (at_the_end("systemctl restart mosquitto"), FAILED, "unit mosquitto was started again"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].__name__)
def test_what_is_not_seen_or_does_not_stay_is_no_recovery(spoiled, row, monkeypatch):
    monkeypatch.setattr(after.AfterChecks, "begin", BEGIN)
    sabotage, verdict, *words = row
    acts.must_be(spoiled(FROM["snapshot"][0], "mosquitto", "snapshot", sabotage), verdict, *words)


UNSTABLE = """
d=/etc/systemd/system/mosquitto.service.d; mkdir -p $d
printf '[Service]\\nRuntimeMaxSec=3\\nRestart=always\\n' >$d/sabotage.conf
systemctl daemon-reload; systemctl restart mosquitto
"""


def test_a_unit_that_ends_every_three_seconds_is_not_recovered(deployed, monkeypatch):
    monkeypatch.setattr(after, "SOAK_SECONDS", 5.0)
    drill, service, backup = deployed("mosquitto", "snapshot")
    acts.after("start", acts.shell(UNSTABLE))(service, backup)
    FROM["snapshot"][0](drill, service, backup)
    acts.must_be(drill.record(), UNSEEN, "the run ended before the service was looked at again")
    drill.run_later_checks()
    why = "did not stay up after it was healthy: unit mosquitto was restarted"
    acts.must_be(drill.record(), FAILED, why)


@pytest.fixture
def production(drill_project, fleet):
    """Mosquitto and its volume in a source of the test's own, whose data can be put anywhere."""
    socket, spec = str(drill_project.endpoint), fleet.service("mosquitto")
    owner = Incus(socket, OwnServerPolicy(socket))
    features = {f"features.{f}": "true" for f in ("profiles", "storage.volumes", "storage.buckets")}
    config = {**features, "features.images": "false"}
    owner.post("projects", body={"name": PRODUCTION, "config": config})
    view, data = owner.for_project(PRODUCTION), spec.volumes[0]
    root = {"root": {"type": "disk", "path": "/", "pool": fleet.pool}}
    view.put("profiles", "default", body={"devices": root})
    owned = {"initial.uid": str(data.owner.uid), "initial.gid": str(data.owner.gid)}
    volume = Volume(view, fleet.pool, data.name)
    volume.create({"size": "50MiB", "initial.mode": data.mode, **owned})
    device = {"type": "disk", "pool": fleet.pool, "source": data.name, "path": data.path}
    instance = Instance(view, spec.instance)
    instance.create(spec.image, {data.device: device}, {})
    instance.start()
    instance.wait_until_usable()
    yield instance, volume
    assert empty(view) == []
    owner.delete("projects", PRODUCTION)


def publish(instance, number):
    """Also makes sure that the broker has written them."""
    with connected(lambda: instance.dial(1883, patience=5)) as client:
        for n in range(number):
            client.publish(f"plant/{n}", b"running", 1, retain=True)
    instance.must_exec(["systemctl", "restart", "mosquitto"])


MOVE = (
    "systemctl stop mosquitto; install -d -o mosquitto -g mosquitto /var/lib/mq; "
    "sed -i 's,^persistence_location.*,persistence_location /var/lib/mq/,' "
    "$(grep -rl ^persistence_location /etc/mosquitto); rm -f /mosquitto/data/mosquitto.db; "
    "systemctl start mosquitto"
)


def test_a_broker_is_wrong_data_once_its_data_is_on_the_root_disk(
    production, pytestconfig, fleet, make_service, drill_project
):
    """Its newest snapshot is drilled, by a copy of its instance."""
    stage, (instance, volume) = session_of(pytestconfig), production
    of_copy = {"provision": "copy", "expect": {"retained messages": 5}}
    spec = fleet.service("mosquitto").model_copy(update=of_copy)

    def sabotage(existing):
        existing.service.provisioner = FromSource(PRODUCTION)

    def drilled():
        source = drill_project.source(PRODUCTION)
        place = replace(backup_locations(stage), incus=source, places=())
        return acts.drill_existing(stage, spec, "snapshot", place, make_service, sabotage)

    publish(instance, 5)
    volume.snapshot("on-its-volume")
    acts.must_be(drilled(), Verdict.RECOVERED)
    instance.must_exec(["sh", "-ec", MOVE])
    publish(instance, 5)
    volume.snapshot("without-it")
    record = drilled()
    assert "retained messages: plant/0" in acts.broken(record)[after.WITHOUT]
    assert "live on the root disk, which no backup of this service holds" in record.reason


def test_a_copy_of_a_service_of_the_lab_is_recovered(pytestconfig, fleet, make_service):
    stage = session_of(pytestconfig)
    spec = fleet.service("loki").model_copy(update={"provision": "copy"})
    place = backup_locations(stage)
    record = acts.drill_existing(stage, spec, "snapshot", place, make_service)
    acts.must_be(record, Verdict.RECOVERED)
    held = {check.name for check in record.checks if check.outcome == "held"}
    assert {after.STAYS_UP, after.FILES, after.FILES_NOW, after.OUTSIDE, after.WITHOUT} <= held
