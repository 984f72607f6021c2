"""Which backup survives which loss, what no backup covers, and the machines that files lie on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from fixtures.audit.inventory import NEAR, BackupInventory, File, mount_table, where
from fixtures.audit.policy import SourceObjects, covered, losses, not_looked_at
from fixtures.backups.find import FoundFile
from fixtures.errors import UsageError
from fixtures.evidence.record import LOSSES
from fixtures.fleet.load import load_fleet

FLEET = Path(__file__).parents[2] / "fleets" / "atlas.yaml"
ATLAS = load_fleet(FLEET)
STRICT = ATLAS.model_copy(update={"survives": {}})
"""With every default: no loss is accepted."""
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)
REMOTE = "on another machine"


def tarballs(*days, lies=NEAR, kind="tarball", **more):
    found = [FoundFile(Path(f"/srv/{n}.tar"), kind, "x", NOW - n * DAY, "index") for n in days]
    return {kind: [File(one, lies=lies, **more) for one in found]}


def seen(name="mosquitto", fleet=STRICT, **more):
    """A snapshot of yesterday and a tarball of three days ago, on the server's own machine."""
    known = {"snapshots": {"auto": NOW - DAY}, "files": tarballs(3), "places": (Path("/srv"),)}
    (subject,) = [part for part in fleet.parts if part.name == name]
    return BackupInventory(subject, NOW, **known | more)


def table(here, fleet=STRICT):
    rows = {row.loss: (row, check) for row, check in losses(here, fleet.allowed(here.subject))}
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
        ({"snapshots": {"auto": NOW - 2.1 * DAY}, "files": tarballs(9)}, "broken " * 4),
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
    found = [row.outcome.replace(" ", "") for row, _ in table(seen(**here)).values()]
    assert found == outcomes.split()


def test_what_survives_is_said_with_its_age_and_advice():
    found = table(seen())
    assert [row.kind for row, _ in found.values()] == ["snapshot", "tarball", None, None]
    assert found["volume"][1].detail == (
        "snapshot auto, 1 d old, in its pool (it goes if the volume itself is deleted); 2 d allowed"
    )
    assert found["pool"][1].detail == "tarball 3.tar, 3 d old, on the server's machine; 8 d allowed"
    assert (found["pool"][0].age, found["pool"][0].allowed) == (3 * 86400, 8 * 86400)
    assert found["machine"][1].detail == "nothing that is made on a schedule survives it"
    assert "keep a copy on another machine" in found["machine"][1].advice
    assert "`survives: {site: none}` of mosquitto" in found["site"][1].advice
    old = table(seen(files=tarballs(9)))["pool"][1]
    assert old.detail.endswith("9 d old, on the server's machine; 8 d allowed")
    assert "make the tarball of mosquitto" in old.advice
    assert table(seen(places=(), files={}))["pool"][1].advice == "give --backups=DIR"


def test_what_is_made_on_demand_satisfies_nothing():
    here = seen(files=tarballs(0.1, lies="off-site"))
    policies = dict(here.subject.backups)
    policies["tarball"] = policies["tarball"].model_copy(update={"schedule": None})
    here.subject = here.subject.model_copy(update={"backups": policies})
    found = table(here)
    assert [row.outcome for row, _ in found.values()] == ["held", "broken", "broken", "broken"]
    assert found["pool"][1].detail.endswith("; tarball 0.1.tar, 2 h 24 min old, was made on demand")
    assert "give a kind of mosquitto that lies in files a schedule" in found["pool"][1].advice


def test_an_accepted_loss_is_shown_as_accepted():
    found = table(seen(fleet=ATLAS), ATLAS)
    assert [row.accepted for row, _ in found.values()] == [False, False, True, True]
    row, check = found["machine"]
    assert (row.outcome, row.allowed) == ("held", None)
    assert check.detail == (
        "the fleet file accepts this loss: nothing that is made on a schedule survives it"
    )
    kept = seen(fleet=ATLAS, files=tarballs(400, lies="off-site"))
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
    for given in (path, Path(path)) if ":/" in path else (Path(path),):
        assert where(given, endpoint, mount_table(MOUNTS)) == lies


def test_the_mount_table_of_this_machine_is_read():
    assert Path("/") in mount_table()
    assert all(PurePosixPath(point).is_absolute() for point in mount_table())


def objects(*more, **states):
    names = [f"instance {s.instance}" for s in ATLAS.services]
    names += [f"volume {s.volumes[0].name}" for s in ATLAS.services]
    return SourceObjects([*names, "bucket atlas-terraform-state", *more], states)


def test_what_the_fleet_file_does_not_know_is_a_finding():
    [whole] = covered(objects(), ATLAS)
    assert (whole.outcome, whole.detail) == ("held", "15 of 15 instances, volumes and buckets")
    strange = ("volume scratch", "volume fast/loki01-data", "bucket x", "instance wiki01")
    found = {one.name: one for one in covered(objects(*strange), ATLAS)}
    assert {name for name, one in found.items() if one.outcome == "broken"} == {*strange}
    assert found["volume scratch"].advice == (
        "add it, or accept it, in the fleet file: `not_covered: {volume scratch: REASON}`"
    )


def test_what_is_accepted_is_held_with_its_reason():
    lax = ATLAS.model_copy(
        update={"not_covered": {"volume scratch": "a cache", "volume gone": "was one"}}
    )
    here = objects("volume scratch")
    found = {one.name: one for one in covered(here, lax)}
    assert found["volume scratch"].outcome == "held"
    assert found["volume scratch"].detail == "the fleet file accepts it: a cache"
    assert "not_covered names volume gone, which the source does not have" in list(
        not_looked_at(here, lax)
    )


def test_state_on_the_root_disk_is_a_finding():
    here = objects(mosquitto01="/var/lib/mq/", loki01="/loki/chunks", grafana01="")
    (found,) = [one for one in covered(here, ATLAS) if one.outcome == "broken"]
    assert found.name == "instance mosquitto01"
    assert "it is kept in /var/lib/mq/, on the root disk" in found.detail
    assert "whether grafana01 keep all state" in next(not_looked_at(here, ATLAS))
