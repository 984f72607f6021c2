"""The backup regime judged: each promise kept and broken, which backup survives which loss."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.audit import policy
from fixtures.audit.inventory import NEAR, BackupInventory, File, mount_table, where
from fixtures.audit.policy import SourceObjects
from fixtures.backups.find import FoundFile
from fixtures.errors import UsageError
from fixtures.evidence.record import LOSSES
from fixtures.fleet.load import load_fleet
from fixtures.plugin.audits import not_checked

FLEET = Path(__file__).parents[2] / "fleets" / "atlas.yaml"
ATLAS = load_fleet(FLEET)
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)
GOOD = {
    "snapshots.schedule": "0 0 * * *",
    "snapshots.expiry": "1w",
    "snapshots.pattern": "auto-{{ creation_date }}",
}


def file(days=0.0, kind="tarball", **more):
    found = FoundFile(Path("/srv/x"), kind, "step-ca01-data", NOW - days * DAY, "index")
    return File(found, **more)


def daily(*days):
    return {f"backup-{n}": NOW - n * DAY for n in days}


def seen(name="mosquitto", *, backups=None, **more):
    """Daily snapshots for eight days and a tarball, all well; `backups` change their policies."""
    known = {"snapshots": daily(*range(8)), "status": "Running", "used_bytes": 10**6}
    known["files"] = {"tarball": [file(1)]}
    subject = ATLAS.service(name)
    policies = dict(subject.backups)
    for kind, change in (backups or {}).items():
        policies[kind] = policies[kind].model_copy(update=change)
    subject = subject.model_copy(update={"backups": policies})
    return BackupInventory(subject, NOW, **{"places": (Path("/srv"),), **known, **more})


def broken(look, name="mosquitto", projected=(), **here):
    """What a check finds of a source that is as `seen` but for this."""
    found = [one for one in look(seen(name, **here), *projected) if one.outcome == "broken"]
    assert all(one.advice for one in found)
    return [f"{one.name}: {one.detail}" for one in found]


def test_what_is_kept_is_in_order():
    for look in (policy.retention, policy.snapshot_settings, policy.files, policy.secrecy):
        assert broken(look) == []
    assert broken(policy.growth, projected=[(60.0, 1800.0)]) == []
    assert [one.outcome for one in policy.ages(seen())] == ["held", "held", "held"]


@pytest.mark.parametrize(
    ("here", "found"),
    [
        ({"files": {}}, "newest tarball: there is no tarball"),
        ({"snapshots": {}}, "newest snapshot: there is no snapshot"),
        ({"snapshots": daily(1.09)}, None),
        (
            {"snapshots": daily(1.2)},
            "newest snapshot: it is 1 d 5 h old; the schedule @daily allow",
        ),
        ({"snapshots": daily(-3, 30)}, "newest snapshot: it is dated 3 d in the future"),
        ({"snapshots": daily(-4 / 1440)}, None),
    ],
)
def test_a_missing_or_old_backup_is_a_finding(here, found):
    named = broken(policy.ages, **here)
    assert len(named) == (found is not None)
    assert not named or named[0].startswith(found)


@pytest.mark.parametrize(
    ("days", "found"),
    [
        ((0, 1, 4, 5, 6), ["missing: none between 2026-11-20 03:00 and 2026-11-23 03:00"]),
        ((0, 1, 2), []),  # before the first one that is known, nobody can tell
        (
            (*range(8), 20, 30),
            [
                "missing: none between 2026-11-04 03:00 and 2026-11-17 03:00",
                "left over: 2 older than 7d are left, from 2026-10-25",
            ],
        ),
    ],
)
def test_holes_and_what_should_have_been_pruned_are_named(days, found):
    named = broken(policy.retention, snapshots=daily(*days))
    assert named == [f"retention of snapshots: nothing {each}" for each in found]


def test_a_full_volume_and_a_late_projection_are_findings():
    def growth(used, projected=None, **config):
        return broken(policy.growth, projected=[projected], used_bytes=used, config=config)

    assert "it is almost full" in growth(4_600_000_000)[0]
    # The volume's own limit counts as Incus writes it.
    assert "of 954 MiB used: it is almost full" in growth(950_000_000, size="1GB")[0]
    assert growth(950_000_000, size="5GB") == []
    late = growth(10**6, (4000.0, 1800.0))
    assert late == ["size against RTO: projected to 977 KiB: 1 h 7 min; the target is 30 min"]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (GOOD, None),
        (GOOD | {"snapshots.schedule": "@weekly"}, "is '@weekly', the fleet file says '@daily'"),
        (GOOD | {"snapshots.expiry": "5d"}, "is '5d', the fleet file says '7d'"),
        (GOOD | {"snapshots.expiry": ""}, "Incus never removes a snapshot"),
        (GOOD | {"snapshots.expiry": "7 days"}, "is none that Incus knows"),
        (GOOD | {"snapshots.pattern": "nightly"}, "gives a name twice"),
        # An expiry counts for snapshots that others make, too.
        ({"snapshots.expiry": "1d"}, "expiry: Incus removes snapshots after '1d', the fleet file"),
        ({"snapshots.expiry": "1d", "snapshots.expiry.manual": "7d"}, None),
        (
            {"snapshots.expiry": "7d", "snapshots.expiry.manual": "1H"},
            "expiry.manual: Incus removes",
        ),
    ],
)
def test_the_volumes_settings_are_those_of_the_fleet_file(config, found):
    named = broken(policy.snapshot_settings, config=config)
    assert bool(named) == (found is not None)
    assert not named or found in named[0]


def test_an_expiry_below_the_schedules_gap_and_no_snapshots_are_findings():
    config = GOOD | {"snapshots.expiry": "12H"}
    short = broken(
        policy.snapshot_settings, config=config, backups={"snapshot": {"retention": "12H"}}
    )
    assert "is over before the next of" in short[0]
    assert broken(policy.snapshot_settings, snapshots={}) == [
        "snapshots.schedule: neither Incus nor anybody else makes any"
    ]


def test_advice_can_be_typed():
    (one,) = policy.snapshot_settings(seen("loki", snapshots={}, place="l v"))
    wanted = "incus storage volume set l v snapshots.schedule='@weekly'"
    assert (one.advice or "").startswith(wanted)


def test_a_further_volume_is_not_looked_at():
    here = seen()
    data = here.subject.volumes[0]
    wal = data.model_copy(update={"name": "mosquitto01-wal", "path": "/var/wal"})
    here.subject = here.subject.model_copy(update={"volumes": (data, wal)})
    (found,) = [one for one in policy.ages(here) if one.outcome == "not looked"]
    assert found.name == "volume mosquitto01-wal at /var/wal"


@pytest.mark.parametrize("change", [{"schedule": None, "retention": None}, {"schedule": None}])
def test_what_is_made_on_demand_is_no_promise_kept(change):
    """A tarball of 700 days, and none at all, were held."""
    here = seen(files={"tarball": [file(700)]}, backups={"tarball": change})
    old = broken(policy.retention, files=here.files, backups={"tarball": change})
    assert any("tarballs: nothing left over: 1 older than 2w" in one for one in old) == (
        "retention" not in change
    )
    assert [one.name for one in policy.ages(here)] == ["the instance runs", "newest snapshot"]
    for files, newest in ((here.files, "the newest is 700 d old"), ({}, "there is none")):
        notes = not_checked(replace(here, files=files), None)
        assert f"tarball is made on demand, which promises nothing: {newest}" in notes


def test_without_a_directory_files_are_not_looked_at():
    here = seen("step-ca", places=())
    outcomes = [one.outcome for one in policy.ages(here)]
    assert outcomes == ["held", "held", "not looked"]
    assert list(policy.files(here)) == []


def test_nothing_is_held_of_no_files():
    looks = (policy.files, policy.secrecy)
    names = {one.name for look in looks for one in look(seen("loki", files={}))}
    assert names == {"every file can be read", "nobody else may read them"}
    assert {one.name for one in policy.secrecy(seen("step-ca"))} == {"no plaintext beside them"}


@given(st.lists(st.integers(0, 100), min_size=1, max_size=40), st.integers(1, 30))
def test_a_hole_is_named_exactly_where_one_is(hours, gap):
    times = sorted({NOW - timedelta(hours=one) for one in hours})
    named = policy.missing(times, NOW - timedelta(hours=200), timedelta(hours=gap))
    assert len(named) == sum(two - one > timedelta(hours=gap) for one, two in pairwise(times))


STRICT = ATLAS.model_copy(update={"survives": {}})
"""With every default: no loss is accepted."""
REMOTE = "on another machine"


def tarballs(*days, **about):
    return {about.get("kind", "tarball"): [file(n, **about) for n in days]}


def lying(name="mosquitto", **more):
    """A snapshot of yesterday and a tarball of three days ago, on the server's own machine."""
    return seen(name, **{"snapshots": daily(1), "files": tarballs(3)} | more)


def table(here, fleet=STRICT):
    rows = {
        row.loss: (row, check) for row, check in policy.losses(here, fleet.allowed(here.subject))
    }
    assert tuple(rows) == LOSSES
    for row, check in rows.values():
        assert check.outcome == row.outcome
        assert (check.outcome == "held") == (check.advice is None)
    return rows


@pytest.mark.parametrize(
    ("here", "outcomes"),
    [
        ({}, "held held broken broken"),
        ({"files": tarballs(5, lies=REMOTE)}, "held held held broken"),
        ({"files": tarballs(5, lies="off-site")}, "held held held held"),
        ({"snapshots": {}, "files": tarballs(1)}, "held held broken broken"),
        # The timer of one kind has stopped.
        ({"snapshots": daily(2.1), "files": tarballs(9)}, "broken " * 4),
        ({"files": tarballs(1, damage="is not what was written")}, "held broken broken broken"),
        ({"files": tarballs(1, not_encrypted="is in the clear")}, "held broken broken broken"),
        ({"files": tarballs(-3)}, "held broken broken broken"),
        # That a copy is off-site is promised of it, and not looked at.
        (
            {"name": "step-ca", "files": tarballs(1, kind="encrypted-tarball")},
            "held held broken broken",
        ),
        # Without a directory only snapshots are looked at.
        ({"places": (), "files": {}}, "held notlooked notlooked notlooked"),
    ],
)
def test_each_loss_is_survived_by_what_is_young_enough_and_far_enough_away(here, outcomes):
    found = [row.outcome.replace(" ", "") for row, _ in table(lying(**here)).values()]
    assert found == outcomes.split()


def test_what_survives_is_said_with_its_age_and_advice():
    found = table(lying())
    assert [row.kind for row, _ in found.values()] == ["snapshot", "tarball", None, None]
    assert found["volume"][1].detail == (
        "snapshot backup-1, 1 d old, in its pool (it goes if the volume itself is deleted); "
        "2 d allowed"
    )
    assert found["pool"][1].detail == "tarball x, 3 d old, on the server's machine; 8 d allowed"
    assert (found["pool"][0].age, found["pool"][0].allowed) == (3 * 86400, 8 * 86400)
    assert found["machine"][1].detail == "nothing that is made on a schedule survives it"
    assert "keep a copy on another machine" in found["machine"][1].advice
    assert "`survives: {site: none}` of mosquitto" in found["site"][1].advice
    old = table(lying(files=tarballs(9)))["pool"][1]
    assert old.detail.endswith("9 d old, on the server's machine; 8 d allowed")
    assert "make the tarball of mosquitto" in old.advice
    assert table(lying(places=(), files={}))["pool"][1].advice == "give --backups=DIR"


def test_what_is_made_on_demand_satisfies_nothing():
    here = lying(files=tarballs(0.1, lies="off-site"))
    policies = dict(here.subject.backups)
    policies["tarball"] = policies["tarball"].model_copy(update={"schedule": None})
    here.subject = here.subject.model_copy(update={"backups": policies})
    found = table(here)
    assert [row.outcome for row, _ in found.values()] == ["held", "broken", "broken", "broken"]
    assert found["pool"][1].detail.endswith("; tarball x, 2 h 24 min old, was made on demand")
    assert "give a kind of mosquitto that lies in files a schedule" in found["pool"][1].advice


def test_an_accepted_loss_is_shown_as_accepted():
    found = table(lying(), ATLAS)
    assert [row.accepted for row, _ in found.values()] == [False, False, True, True]
    row, check = found["machine"]
    assert (row.outcome, row.allowed) == ("held", None)
    assert check.detail == (
        "the fleet file accepts this loss: nothing that is made on a schedule survives it"
    )
    kept = lying(files=tarballs(400, lies="off-site"))
    assert table(kept, ATLAS)["site"][0].age == 400 * 86400


def test_what_is_allowed_is_the_services_word_then_the_fleets_then_the_default():
    def days(fleet, name):
        (part,) = [part for part in fleet.parts if part.name == name]
        return [seconds and seconds / 86400 for seconds in fleet.allowed(part).values()]

    assert days(STRICT, "mosquitto") == [2, 8, 8, 35]
    assert days(STRICT, "loki") == [8, 8, 35, 35]
    assert days(STRICT, "step-ca") == [8, 8, 2, 8]
    assert days(STRICT, "atlas-terraform-state") == [2, 2, 2, 8]
    lax = STRICT.model_copy(update={"survives": {"volume": "4w", "site": "none"}})
    assert days(lax, "step-ca")[0] == 8
    assert days(lax, "loki") == [28, 8, 35, None]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("survives: {disk: 1d}", "survives.disk: must be volume, pool, machine or site"),
        ("survives: {pool: never}", "survives.pool: 'never' is no retention"),
        ("survives: {pool: 0d}", "survives.pool: '0d' keeps nothing"),
        ("not_covered: {scratch: x}", "not_covered.scratch: 'scratch' does not match"),
    ],
)
def test_a_wrong_word_in_the_fleet_file_is_named(tmp_path, line, message):
    text = FLEET.read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("survives: {machine: none, site: none}", line, 1))
    with pytest.raises(UsageError) as caught:
        load_fleet(file)
    assert message in str(caught.value)


MOUNTS = r"""
22 1 0:20 / / rw - btrfs /dev/sda2 rw
23 22 0:21 / /mnt/nas rw shared:1 - nfs4 nas:/export rw
24 22 0:22 / /mnt/own rw - nfs 127.0.0.1:/srv rw
25 22 0:23 / /mnt/a\040b rw - cifs //Filer/backups rw
26 22 0:24 / /mnt/ssh rw - fuse.sshfs backup@vault:/srv rw
27 22 0:25 / /mnt/auto rw - autofs systemd-1 rw
28 27 0:26 / /mnt/auto rw - nfs4 [fd00::7]:/export rw
29 23 0:27 / /mnt/nas/usb rw - ext4 /dev/sdb1 rw
""".strip()
SOCKET = "/var/lib/incus/unix.socket"


@pytest.mark.parametrize(
    ("path", "endpoint", "lies"),
    [
        ("/srv/x.tar", SOCKET, NEAR),
        ("/mnt/nas/x.tar", SOCKET, REMOTE),
        ("/mnt/nas/usb/x.tar", SOCKET, NEAR),
        ("/mnt/own/x.tar", SOCKET, NEAR),
        ("/mnt/a b/x.tar", SOCKET, REMOTE),
        ("/mnt/ssh/x.tar", SOCKET, REMOTE),
        ("/mnt/auto/x.tar", SOCKET, REMOTE),
        ("/srv/x.tar", "https://prod:8443", REMOTE),
        ("/srv/x.tar", "https://127.0.0.1:8443", NEAR),
        ("/mnt/nas/x.tar", "https://nas:8443", NEAR),
        ("/mnt/a b/x.tar", "https://filer:8443", NEAR),
        ("/mnt/auto/x.tar", "https://[fd00::7]:8443", NEAR),
        ("sftp://vault/srv/x.tar", SOCKET, "off-site"),
        ("s3://bucket/prefix/x.tar", "https://prod:8443", "off-site"),
        ("sftp://localhost/srv/x.tar", SOCKET, NEAR),
        ("sftp://prod/srv/x.tar", "https://prod:8443", NEAR),
    ],
)
def test_where_a_file_lies(path, endpoint, lies):
    # pathlib makes one slash of two: both ways of keeping a URL are the same place.
    for written in (path, Path(path)) if ":/" in path else (Path(path),):
        assert where(written, endpoint, mount_table(MOUNTS)) == lies


def test_the_mount_table_of_this_machine_is_read():
    assert Path("/") in mount_table()
    assert all(PurePosixPath(point).is_absolute() for point in mount_table())


def test_what_the_fleet_file_does_not_know_is_a_finding_unless_it_is_accepted():
    accepted = {"volume scratch": "a cache", "volume gone": "was one"}
    lax = ATLAS.model_copy(update={"not_covered": accepted})
    names = [f"instance {s.instance}" for s in ATLAS.services]
    names += [f"volume {s.volumes[0].name}" for s in ATLAS.services]
    names += ["bucket atlas-terraform-state"]
    [whole] = policy.covered(SourceObjects(names), ATLAS)
    assert (whole.outcome, whole.detail) == ("held", "15 of 15 instances, volumes and buckets")
    strange = ["volume scratch", "volume fast/loki01-data", "bucket x", "instance wiki01"]
    states = {"mosquitto01": "/var/lib/mq/", "loki01": "/loki/chunks", "grafana01": ""}
    here = SourceObjects(names + strange, states)
    found = {one.name: one for one in policy.covered(here, ATLAS) if one.outcome == "broken"}
    assert found.keys() == {*strange, "instance mosquitto01"}
    assert found["volume scratch"].advice == (
        "add it, or accept it, in the fleet file: `not_covered: {volume scratch: REASON}`"
    )
    held = {one.name: one.detail for one in policy.covered(here, lax) if one.outcome == "held"}
    assert held["volume scratch"] == "the fleet file accepts it: a cache"
    unknown, gone = policy.not_looked_at(here, lax)
    assert "whether grafana01 keep all state" in unknown
    assert gone == "not_covered names volume gone, which the source does not have"
