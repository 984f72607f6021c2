"""The checks after the clock has stopped, seen red for each of them."""

from dataclasses import replace

import pytest

import drills.test_existing_backups as existing_backups
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
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import backup_locations, find_existing, session_of
from fixtures.recovery.drill import Form
from fixtures.recovery.provision import FromSource
from fixtures.services.mosquitto import connected

FROM = {
    "snapshot": (snapshot.test_service_restored_from_snapshot, "restore_snapshot"),
    "tarball": (tarball.test_service_restored_from_tarball, "import_tarball"),
    # The drill has the same body, and other files.
    "encrypted-tarball": (tarball.test_service_restored_from_tarball, "import_tarball"),
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
REMOVE = """perl -e '
my ($file, $name) = ("other", "user.kept");
syscall(`uname -m` =~ /x86_64/ ? 197 : 14, $file, $name) == 0 or die $!;
'"""

CHANGES = {
    "chown 0:0 01*": "is owned by 0:0, was by 1100:1100",
    "chgrp 0 wal": "wal is owned by 1100:0, was by 1100:1100",
    "chmod u+s wal/*": "has mode 4644, had 0644",
    "touch \"$(printf 'extra\\nfile')\"": r"extra\nfile is there, and not in the backup",
    "touch \"$(printf 'no\\377text')\"": r"no\udcfftext is there, and not in the backup",
    "mv wbl w && ln -s w wbl": "wbl is a symbolic link to w, was a directory",
    ":": "is missing",
    'ln "$(ls -d wal/0* | head -n 1)" link': "link is there, and not in the backup",
    "echo more >> queries.active": "queries.active has 20006 bytes, had 20001",
    "cd planted": "",
    "touch -r other /tmp/as; printf C | dd of=other conv=notrunc; touch -r /tmp/as other": (
        "planted/other has other content"
    ),
    "cp -a link copy; mv copy link": "planted/file is no hard link to planted/link, was one",
    REMOVE: "has lost its attribute user.kept",
    "touch -d @1600000001 -h symbolic": (
        "planted/symbolic was last written at 2020-09-13T12:26:41+00:00, not "
    ),
    "rm pipe": "planted/pipe is missing",
}


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
    monkeypatch.setattr("fixtures.backups.tarball.MAX_NAMED", 60)
    body, verb = FROM[kind]
    drill, service, backup = planted(kind)
    acts.after(verb, on_its_volume("; ".join(CHANGES)))(service, backup)
    record = acts.attempt(drill, body, service, backup)
    found = acts.broken(record)[after.FILES]
    assert [change for change in CHANGES.values() if change not in found] == [], found
    assert f"{after.FILES}: " in record.reason


def test_a_database_that_all_may_read_is_wrong_data(spoiled):
    body, verb = FROM["encrypted-tarball"]
    act = acts.after(verb, on_its_volume("chmod 0644 .step/db/*"))
    found = acts.broken(spoiled(body, "step-ca", "encrypted-tarball", act))
    assert "has mode 0644" in found[after.FILES]


@pytest.mark.parametrize("form", [Form("none", optimized=True), Form("gzip")], ids=str)
def test_one_difference_is_all_that_is_told_of_a_good_restore(planted, form):
    drill, service, backup = planted("tarball", form)
    acts.after("import_tarball", on_its_volume("chmod 0600 queries.active"))(service, backup)
    record = acts.attempt(drill, FROM["tarball"][0], service, backup)
    assert acts.broken(record)[after.FILES] == "queries.active has mode 0600, had 0644"


def test_on_a_pool_that_copies_a_second_import_is_compared(planted):
    drill, service, backup = planted("tarball")
    service.is_instant = False
    record = acts.attempt(drill, FROM["tarball"][0], service, backup)
    assert record.verdict is Verdict.RECOVERED, record.reason
    assert after.FILES in {check.name for check in record.checks if check.outcome == "held"}
    assert f"{after.FILES}: {after.NO_INSTANT}" in record.notes
    file = next(path for path in backup.inspection.listing.contents)
    backup.inspection.listing.contents[file] = bytes(32)
    checks = after.Checks(drill)
    after.AfterChecks(service, backup)._check_files(checks)
    assert "has other content" in checks.broken[0]


def test_what_becomes_roots_while_it_runs_is_wrong_data(spoiled):
    act = acts.after("wait_until_healthy", acts.shell("chown -R 0:0 /loki/chunks"))
    record = spoiled(FROM["tarball"][0], "loki", "tarball", act)
    assert "chunks is owned by 0:0" in acts.broken(record)[after.FILES_NOW]


def test_a_volume_that_was_not_kept_before_the_service_wrote_is_not_verified(spoiled):
    """Its snapshot failed, or came so late that the service may have made the difference."""
    body, verb = FROM["snapshot"]

    def refused(service, backup):
        service._keep_as_restored = lambda: service.drill.note("planted")

    record = spoiled(body, "mosquitto", "snapshot", refused)
    assert record.verdict is Verdict.NOT_VERIFIED
    assert record.reason.startswith(f"service mosquitto: {after.FILES}: ")

    def late(service, backup):
        acts.after(verb, on_its_volume("touch extra; chown --reference=. extra"))(service, backup)
        acts.after("wait_until_healthy", lambda *_: setattr(service, "kept_at", 1e12))(
            service, backup
        )

    record = spoiled(body, "mosquitto", "snapshot", late)
    assert record.verdict is Verdict.NOT_VERIFIED
    assert "extra is there" in record.reason and after.TOO_LATE in record.reason


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
    assert drill.record().verdict is Verdict.NOT_VERIFIED
    assert "the run ended before the service was looked at again" in drill.record().reason
    drill.run_later_checks()
    record = drill.record()
    assert record.verdict is Verdict.NOT_RECOVERED
    assert "did not stay up after it was healthy: unit mosquitto was restarted" in record.reason
    broken = {check.name for check in record.checks if check.outcome == "broken"}
    assert after.STAYS_UP in broken


ENDS = {
    "systemctl stop mosquitto": "unit mosquitto is inactive",
    "systemctl restart mosquitto": "unit mosquitto was started again",
}


@pytest.mark.parametrize("how", ENDS)
def test_a_service_that_ends_after_it_was_verified_is_not_recovered(spoiled, how, monkeypatch):
    def end(service, backup):
        begin = after.AfterChecks.begin

        def begun(self):
            begin(self)
            service.instance.exec(["sh", "-c", how])

        monkeypatch.setattr(after.AfterChecks, "begin", begun)

    record = spoiled(FROM["snapshot"][0], "mosquitto", "snapshot", end)
    assert record.verdict is Verdict.NOT_RECOVERED
    assert ENDS[how] in record.reason


def test_a_server_that_cannot_be_asked_is_not_verified(spoiled):
    def mute(service, backup):
        whole = service.instance.exec

        def exec(argv, **more):
            if argv[:2] == ["systemctl", "show"]:
                raise IncusError("no answer")
            return whole(argv, **more)

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
    view = owner.for_project(PRODUCTION)
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
def drilled(pytestconfig, fleet, make_service, drill_project):
    """Drills the newest snapshot of `production`, by a copy of its instance."""

    def run(name, **expect):
        stage = session_of(pytestconfig)
        spec = fleet.service(name).model_copy(update={"provision": "copy", "expect": expect})
        source = drill_project.source(PRODUCTION)
        place = replace(backup_locations(stage), incus=source, places=())
        drill = stage.new_drill(Planned(spec, "snapshot", "existing"))
        found = find_existing(drill, spec, place, make_service, stage)
        found.service.provisioner = FromSource(PRODUCTION)
        record = acts.attempt(drill, existing_backups.restored, found)
        found.service.remove()
        return record

    return run


def publish(instance, number):
    with connected(lambda: instance.dial(1883, patience=5)) as client:
        for n in range(number):
            client.publish(f"plant/{n}", b"running", 1, retain=True)


def test_a_broker_is_wrong_data_once_its_data_is_on_the_root_disk(production, drilled):
    instance, volume = production("mosquitto")
    publish(instance, 5)
    instance.must_exec(["systemctl", "restart", "mosquitto"])
    volume.snapshot("on-its-volume")
    good = drilled("mosquitto", **{"retained messages": 5})
    assert good.verdict is Verdict.RECOVERED, good.reason
    move = (
        "systemctl stop mosquitto; install -d -o mosquitto -g mosquitto /var/lib/mq; "
        "sed -i 's,^persistence_location.*,persistence_location /var/lib/mq/,' "
        "$(grep -rl ^persistence_location /etc/mosquitto); rm -f /mosquitto/data/mosquitto.db; "
        "systemctl start mosquitto"
    )
    instance.must_exec(["sh", "-ec", move])
    publish(instance, 5)
    instance.must_exec(["systemctl", "restart", "mosquitto"])
    volume.snapshot("without-it")
    record = drilled("mosquitto", **{"retained messages": 5})
    assert "retained messages: plant/0" in acts.broken(record)[after.WITHOUT]
    assert "live on the root disk, which no backup of this service holds" in record.reason


def test_a_copy_of_a_service_of_the_lab_is_recovered(pytestconfig, fleet, make_service):
    stage = session_of(pytestconfig)
    spec = fleet.service("loki").model_copy(update={"provision": "copy"})
    drill = stage.new_drill(Planned(spec, "snapshot", "existing"))
    found = find_existing(drill, spec, backup_locations(stage), make_service, stage)
    record = acts.attempt(drill, existing_backups.restored, found)
    assert record.verdict is Verdict.RECOVERED, record.reason
    held = {check.name for check in record.checks if check.outcome == "held"}
    assert {after.STAYS_UP, after.FILES, after.FILES_NOW, after.OUTSIDE, after.WITHOUT} <= held
