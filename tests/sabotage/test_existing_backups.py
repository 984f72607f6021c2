"""The drill of existing backups, seen red for each of its verifications."""

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

import fixtures.recovery.service as verbs
import tests.sabotage.acts as acts
from fixtures.errors import GuardRefused
from fixtures.evidence.judge import FILES
from fixtures.evidence.record import Verdict
from fixtures.evidence.writer import HistoryLine
from fixtures.fleet.model import ONLY_THE_FIRST
from fixtures.incus.instance import Instance
from fixtures.incus.inventory import compare, inventory
from fixtures.incus.tunnel import Relay
from fixtures.incus.volumes import Volume
from fixtures.plugin.fixtures import session_of
from fixtures.recovery.after import NO_FILE_CHECK
from fixtures.recovery.checks import NOT_IN_FLEET
from fixtures.secrets import Secret
from fixtures.services.mosquitto import connected
from fixtures.services.step_ca import new_ca

TOPIC = "atlas-drills/earlier/retained/text"


@pytest.fixture
def drilled(pytestconfig, fleet, make_service, place):
    """Runs the drill of a service on what is in `place`, with a sabotage before its body."""

    stage = session_of(pytestconfig)

    def run(name, kind, sabotage=acts.nothing, where=None, **spec):
        subject = fleet.service(name).model_copy(update=spec)
        return acts.drill_existing(stage, subject, kind, where or place, make_service, sabotage)

    return run


def without_note(existing):
    existing.backup = replace(existing.backup, known=None)


def publish(topic, payload):
    def act(existing):
        with connected(existing.service.subject.dial) as client:
            client.publish(topic, payload, 1, retain=True)

    return act


def start_on_nothing(existing):
    existing.restore = existing.service.rebuild
    existing.start = existing.service.start_empty


def other_root(existing):
    existing.service.subject.trusted_root = new_ca("/home/step", "ca.atlas.internal").root


def no_root(existing):
    """As where the source is gone: the noted fingerprint tells which CA it was."""
    existing.service.subject.trusted_root = None


def another_fingerprint(existing):
    no_root(existing)
    existing.service.subject.announced = "0" * 64


def one_message_more_and_one_less(existing):
    acts.after("wait_until_healthy", publish(TOPIC, b""))(existing)
    acts.after("wait_until_healthy", publish("atlas-drills/alien", b"x"))(existing)


def later_note(existing):
    known = existing.backup.known
    newer = replace(known, newest=known.newest + timedelta(minutes=1))
    existing.backup = replace(existing.backup, known=newer)


def of_days_ago(existing):
    existing.drill.target_rpo = 0.001


def empty_and_without_note(existing):
    without_note(existing)
    start_on_nothing(existing)


def cannot_say_so(existing):
    without_note(existing)
    existing.service.subject.check_whole = list


def ends_long_before(existing):
    without_note(existing)
    existing.service.subject.newest = lambda at: at - timedelta(days=30)


def last_proof(**counted):
    """What history has of an earlier proof of the same."""

    def act(existing):
        about = {"run": "r1", "begun": datetime.now(UTC), "host": "h", "incus": None}
        about |= {"target": None, "rto": 1.0, "rpo": None, "target_rto": 900.0}
        about |= {"service": existing.drill.subject, "scenario": existing.drill.scenario}
        line = HistoryLine(**about, origin="existing", verdict=Verdict.RECOVERED, **counted)
        existing.drill.last_proof = line

    return act


fewer_than_ever = last_proof(counted={"retained messages": 4})
smaller_than_ever = last_proof(file_bytes=1 << 30)


def in_the_way(existing):
    create = existing.service.create_volume
    acts.after("must_be_absent", lambda _: create(existing.service.volume))(existing)


def not_lost(existing):
    existing.service.rebuild()


def disable(existing):
    existing.service.instance.wait_until_usable()
    existing.service.instance.must_exec(["systemctl", "disable", "--now", "mosquitto"])


WRONG, FAILED, UNSEEN = Verdict.WRONG_DATA, Verdict.NOT_RECOVERED, Verdict.NOT_VERIFIED
BROKER, BROKERS_FILE = ("mosquitto", "snapshot"), ("mosquitto", "tarball")
METRICS, METRICS_FILE = ("prometheus", "snapshot"), ("prometheus", "tarball")
CA = ("step-ca", "encrypted-tarball")
OTHER_DATA = "restored and started, but with other data than the source's"
ALIEN = "there, and the source had it not: retained messages: atlas-drills/alien"
ROWS = [
    (BROKER, start_on_nothing, WRONG, OTHER_DATA, "lost: "),
    (BROKER, one_message_more_and_one_less, WRONG, f"lost: retained messages: {TOPIC}", ALIEN),
    (CA, other_root, WRONG, OTHER_DATA),
    (CA, no_root, Verdict.RECOVERED),
    (CA, another_fingerprint, UNSEEN, "has no root of fingerprint 000"),
    (METRICS_FILE, later_note, WRONG, "time of the newest data: is "),
    (BROKER, of_days_ago, Verdict.RECOVERED_LATE, "stale: the age of its data is ", "the schedule"),
    (BROKER, empty_and_without_note, UNSEEN, "it proves nothing"),
    (BROKER, cannot_say_so, UNSEEN, "cannot say that its data is whole"),
    (METRICS, ends_long_before, UNSEEN, "s before the backup: an idle service"),
    (BROKERS_FILE, fewer_than_ever, WRONG, "3 retained messages, the last proof counted 4"),
    (BROKERS_FILE, smaller_than_ever, WRONG, "that of the last proof"),
    (BROKER, in_the_way, FAILED, "was verified, but does not restore", "the source is untouched"),
    (BROKER, not_lost, FAILED, "the loss could not be staged"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1].__name__)
def test_what_is_not_the_sources_newest_backup_is_named(drilled, row):
    (name, kind), sabotage, verdict, *words = row
    acts.must_be(drilled(name, kind, sabotage), verdict, *words)


def test_how_far_a_recovery_came_is_in_its_message(drilled, monkeypatch):
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 3.0)
    why = "was restored, but the service does not become healthy on it"
    record = drilled(*BROKER, acts.after("start", disable))
    acts.must_be(record, FAILED, why, "the source is untouched")


def test_one_changed_byte_is_damage(drilled, place, fleet):
    file = acts.newest(place, fleet, "mosquitto", "tarball")
    acts.flip_a_bit(file)
    acts.must_be(drilled(*BROKERS_FILE), FAILED, "is not what was written")
    # As of a file that was damaged before its checksum was taken.
    file.with_name(f"{file.name}.sha256").unlink()
    acts.must_be(drilled(*BROKERS_FILE), FAILED, "is damaged")


def test_the_newest_file_counts_by_what_is_in_it(drilled, place, fleet):
    right, other = (acts.newest(place, fleet, name, "tarball") for name in ("loki", "mosquitto"))
    later = right.with_name("loki01-data-20991231.tar.zst")
    later.write_bytes(right.read_bytes()[:30])
    # What cannot be read is not passed over.
    acts.must_be(drilled("loki", "tarball"), FAILED, f"newest tarball {later}")
    later.unlink()
    # Another service's backup under this name.
    shutil.copy(other, right)
    right.with_name(f"{right.name}.sha256").unlink()
    drill = drilled("loki", "tarball", where=replace(place))
    acts.must_be(drill, UNSEEN, "there is no tarball of loki in")


def test_without_a_backup_or_its_passphrase_nothing_is_verified(drilled, place):
    past = replace(place, as_of=datetime(2020, 1, 1, tzinfo=UTC))
    wrong = replace(place, passphrase=Secret("another passphrase"))
    for kind, where, verdict, why in (
        (CA, replace(place, passphrase=None), UNSEEN, "no passphrase was given"),
        (CA, wrong, FAILED, "Bad session key"),
        (BROKERS_FILE, replace(place, places=()), UNSEEN, "no directory of backups is known"),
        (BROKERS_FILE, past, UNSEEN, "from before 2020-01-01"),
        (BROKER, past, UNSEEN, "from before 2020-01-01"),
    ):
        acts.must_be(drilled(*kind, where=where), verdict, why)


def test_a_tarball_without_a_note_is_restored_and_compared_with_what_is_expected(
    drilled, place, fleet, tmp_path
):
    file = acts.newest(place, fleet, "mosquitto", "tarball")
    bare = replace(place, places=(tmp_path / "own",))
    (tmp_path / "own").mkdir()
    copy = tmp_path / "own" / f"mosquitto01-data-20261124{''.join(file.suffixes[-2:])}"
    shutil.copy(file, copy)
    # Fetched tomorrow from where it is kept off-site: that makes it no younger.
    os.utime(copy, (time.time() + 86400,) * 2)
    unknown = drilled(*BROKERS_FILE, where=bare, live="none")
    assert datetime.now(UTC) - unknown.backup.taken_at < timedelta(hours=1)
    assert (unknown.verdict, unknown.strength) == (Verdict.RECOVERED, "sound"), unknown.reason
    expect = {"retained messages": 3}
    met = drilled(*BROKERS_FILE, where=bare, live="none", expect=expect)
    acts.must_be(met, Verdict.RECOVERED)
    assert met.compared_with == "the fleet file's expectations"
    assert (met.strength, met.counted["retained messages"]) == ("counted", 3)
    copy.write_bytes(copy.read_bytes()[:-20])
    cut = drilled(*BROKERS_FILE, where=bare, live="none", expect=expect)
    assert cut.verdict is FAILED


WAL = {"name": "mosquitto01-wal", "path": "/var/lib/wal"}
SPECS = [
    (
        lambda volume: {"volumes": (volume, volume.model_copy(update=WAL))},
        *(UNSEEN, f"volume mosquitto01-wal at /var/lib/wal: {ONLY_THE_FIRST}"),
    ),
    (
        lambda _: {"expect": {"retained messages": 4}},
        *(WRONG, "expects at least 4 retained messages: there are 3"),
    ),
    (
        lambda _: {"live": "127.0.0.1:1"},
        *(UNSEEN, "the live service: no connection to the broker"),
    ),
]


@pytest.mark.parametrize(("more", "verdict", "why"), SPECS)
def test_what_the_fleet_file_says_more_is_looked_at(drilled, fleet, more, verdict, why):
    spec = more(fleet.service("mosquitto").volumes[0])
    acts.must_be(drilled(*BROKER, without_note, **spec), verdict, why)


def test_a_volume_that_the_fleet_file_does_not_name_is_not_verified(drilled, owner):
    instance, second = Instance(owner, "mosquitto01"), Volume(owner, "local", "forgotten")
    second.create({})
    device = {"type": "disk", "pool": "local", "source": second.name, "path": "/more"}
    instance.attach("more", device)
    try:
        record = drilled(*BROKER, provision="copy")
    finally:
        instance.detach("more")
        second.delete()
    assert record.verdict is UNSEEN
    assert record.reason.endswith(f"volume forgotten on pool local at /more: {NOT_IN_FLEET}")
    assert {check.outcome for check in record.checks} == {"held", "not looked"}


@pytest.fixture
def alive(owner, fleet):
    """The source's services as their users reach them, on this host's loopback."""
    with contextlib.ExitStack() as open_relays:

        def reach(name):
            spec = fleet.service(name)
            instance, port = Instance(owner, spec.instance), spec.ports[0].port
            relay = Relay(lambda: instance.dial(port, patience=2))
            return f"127.0.0.1:{open_relays.enter_context(relay).port}"

        yield reach


def test_without_a_note_the_live_service_is_compared(drilled, alive):
    drill = drilled("step-ca", "snapshot", without_note, live=alive("step-ca"))
    acts.must_be(drill, Verdict.RECOVERED)
    assert drill.compared_with == "the live service"
    assert drill.strength == "live"


def test_a_live_service_that_has_changed_since_proves_nothing(drilled, alive):
    def sabotage(existing):
        without_note(existing)
        acts.after("wait_until_healthy", publish(TOPIC, b""))(existing)

    drill = drilled(*BROKER, sabotage, live=alive("mosquitto"))
    assert drill.strength == "sound"
    assert any("the live service has changed since this backup" in note for note in drill.notes)


def test_what_the_live_service_had_at_one_moment_is_exact(drilled, alive):
    drill = drilled(*METRICS, empty_and_without_note, live=alive("prometheus"))
    acts.must_be(drill, WRONG, "lost: samples: of the last hour")


def test_without_the_file_check_nothing_is_sound(drilled, pytestconfig, monkeypatch):
    monkeypatch.setattr(session_of(pytestconfig).run, "compares_files", False)
    drill = drilled(*BROKER, without_note)
    assert drill.reason == "nothing to compare with but its files, left out by --no-file-check"
    assert f"{FILES}: {NO_FILE_CHECK}" in drill.not_looked_at
    assert FILES not in {check.name for check in drill.checks}


def test_a_backup_of_another_server_under_the_right_name_is_not_restored(drilled, monkeypatch):
    """The source's volume was there long before that of the export."""
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    monkeypatch.setattr("fixtures.recovery.existing.Volume.created_at", lambda _: str(long_ago))
    drill = drilled(*BROKERS_FILE)
    acts.must_be(drill, FAILED, "is a backup of another volume mosquitto01-data")
    assert drill.restore is None


def test_the_source_cannot_be_changed_by_its_view(place):
    with pytest.raises(GuardRefused, match="the guard refused"):
        place.incus.put("instances", "mosquitto01", "state", body={"action": "stop"})
    # Meant so: else the run would end by it.
    place.incus.policy.refusals.clear()


def test_a_change_of_the_source_is_named(place, owner):
    begun, before = datetime.now(UTC), inventory(place.incus, place.project)
    volume = Volume(owner, "local", "mosquitto01-data")
    volume.snapshot("by-hand")
    after = inventory(place.incus, place.project)
    acts.delete_of(volume, "snapshots", "by-hand")
    (change,) = compare(before, after, begun).changed
    assert change == "volume mosquitto01-data on pool local: snapshot by-hand is new"


def unpack_tsdb(place, fleet):
    """Return a TSDB snapshot as the runbook leaves it: pulled off the volume, packed by nobody."""
    packed = replace(place).newest_file(fleet.service("prometheus"), "native")
    file, name = packed.path, f"{packed.taken_at:%Y%m%dT%H%M%SZ}-78c1a2b3"
    directory = place.places[0] / "snapshots" / name
    directory.mkdir(parents=True)
    subprocess.run(["tar", "-C", directory, "-xf", file], check=True)
    for left in file.parent.glob(f"{file.name}*"):
        left.unlink()
    return directory


def test_a_tsdb_snapshot_that_lies_as_a_directory_is_restored(place, drilled, fleet):
    directory = unpack_tsdb(place, fleet)
    drill = drilled("prometheus", "native")
    acts.must_be(drill, Verdict.RECOVERED)
    assert (drill.backup.name, drill.backup.dated_by) == (directory.name, "name")
    next(directory.glob("*/index")).unlink()
    drill = drilled("prometheus", "native", where=replace(place))
    acts.must_be(drill, FAILED, "lacks index")


def test_an_export_whose_index_comes_last_is_restored(place, drilled, fleet):
    """As `tar -c backup` packs it again, in the order of a directory: Incus takes it."""
    file = acts.newest(place, fleet, "mosquitto", "tarball")
    plain = io.BytesIO(subprocess.check_output(["zstd", "-dc", str(file)]))
    for left in file.parent.glob(f"{file.name}*"):
        left.unlink()
    with (
        tarfile.open(fileobj=plain) as whole,
        tarfile.open(file.with_name("x"), "w:gz", format=tarfile.PAX_FORMAT) as again,
    ):
        entries = whole.getmembers()
        for entry in sorted(entries, key=lambda each: each.name == "backup/index.yaml"):
            again.addfile(entry, whole.extractfile(entry) if entry.isreg() else None)
    drill = drilled(*BROKERS_FILE, where=replace(place))
    acts.must_be(drill, Verdict.RECOVERED)
    assert (drill.backup.name, drill.backup.dated_by) == ("x", "index")
