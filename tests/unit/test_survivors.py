"""Which backup survives which loss: the table, cell by cell, and the machines that files lie on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from fixtures.audit.inventory import NEAR, BackupInventory, File, mount_table, where
from fixtures.audit.policy import SourceObjects, covered, losses, not_looked_at
from fixtures.backups.find import FoundFile
from fixtures.errors import UsageError
from fixtures.evidence.record import LOSSES
from fixtures.fleet.load import load_fleet

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def atlas():
    return load_fleet(ROOT / "fleets" / "atlas.yaml")


@pytest.fixture(scope="module")
def strict(atlas):
    """Atlas with every default: no loss is accepted."""
    return atlas.model_copy(update={"survives": {}})


def tarball(days, lies=NEAR, **more):
    made = FoundFile(Path(f"/srv/{days}.tar"), "tarball", "x", NOW - days * DAY, "index")
    return File(made, lies=lies, **more)


def seen(fleet, name="mosquitto", **more):
    """A snapshot of yesterday and a tarball of three days ago, on the server's own machine."""
    known = {"snapshots": {"auto": NOW - DAY}, "files": {"tarball": [tarball(3)]}, **more}
    (subject,) = [part for part in fleet.parts if part.name == name]
    return BackupInventory(subject, NOW, known.pop("places", (Path("/srv"),)), **known)


def table(here, fleet):
    rows = {row.loss: (row, check) for row, check in losses(here, fleet.allowed(here.subject))}
    assert tuple(rows) == LOSSES
    for row, check in rows.values():
        assert check.outcome == row.outcome
        assert (check.outcome == "held") == (check.advice is None)
    return rows


def outcomes(here, fleet):
    return [row.outcome for row, _ in table(here, fleet).values()]


def test_each_loss_is_survived_by_what_lies_far_enough_away(strict):
    found = table(seen(strict), strict)
    assert [row.kind for row, _ in found.values()] == ["snapshot", "tarball", None, None]
    assert outcomes(seen(strict), strict) == ["held", "held", "broken", "broken"]
    assert found["volume"][1].detail == (
        "snapshot auto, 1 d old, in its pool (it goes if the volume itself is deleted); 2 d allowed"
    )
    assert found["pool"][1].detail == "tarball 3.tar, 3 d old, on the server's machine; 8 d allowed"
    assert found["pool"][0].age == 3 * 86400 and found["pool"][0].allowed == 8 * 86400
    assert found["machine"][1].detail == "nothing that is made on a schedule survives it"
    assert "keep a copy on another machine" in (found["machine"][1].advice or "")
    assert "`survives: {site: none}` of mosquitto" in (found["site"][1].advice or "")


def test_a_copy_elsewhere_survives_the_machine_and_off_site_the_site(strict):
    copy = seen(strict, files={"tarball": [tarball(5, "on another machine"), tarball(3)]})
    assert outcomes(copy, strict) == ["held", "held", "held", "broken"]
    assert table(copy, strict)["machine"][0].age == 5 * 86400
    away = seen(strict, files={"tarball": [tarball(5, "off-site")]})
    assert outcomes(away, strict) == ["held"] * 4


def test_the_newest_may_be_too_old(strict):
    """The timer of one kind has stopped."""
    here = seen(strict, snapshots={"auto": NOW - 2.1 * DAY}, files={"tarball": [tarball(9)]})
    found = table(here, strict)
    assert [row.outcome for row, _ in found.values()][:2] == ["broken", "broken"]
    assert found["pool"][1].detail.endswith("9 d old, on the server's machine; 8 d allowed")
    assert "make the tarball of mosquitto" in (found["pool"][1].advice or "")
    young = seen(strict, snapshots={}, files={"tarball": [tarball(1)]})
    assert outcomes(young, strict)[0] == "held", "a file survives the volume, too"


def test_what_nobody_promises_to_make_again_satisfies_nothing(strict):
    here = seen(strict, files={"tarball": [tarball(0.1, "off-site")]})
    policies = dict(here.subject.backups)
    policies["tarball"] = policies["tarball"].model_copy(update={"schedule": None})
    here.subject = here.subject.model_copy(update={"backups": policies})
    found = table(here, strict)
    assert [row.outcome for row, _ in found.values()] == ["held", "broken", "broken", "broken"]
    assert found["pool"][1].detail.endswith("; tarball 0.1.tar, 2 h 24 min old, was made on demand")
    assert "give a kind of mosquitto that lies in files a schedule" in str(found["pool"][1].advice)


@pytest.mark.parametrize(
    "useless",
    [
        tarball(1, damage="is not what was written"),
        tarball(1, not_encrypted="is in the clear"),
        tarball(-3),
    ],
    ids=["damaged", "in the clear", "of the future"],
)
def test_useless_files_satisfy_nothing(strict, useless):
    found = table(seen(strict, files={"tarball": [useless]}), strict)
    assert found["pool"][0].kind is None and found["pool"][0].outcome == "broken"


def test_a_promise_of_an_off_site_copy_is_not_looked_at(strict):
    made = FoundFile(Path("/srv/ca.gpg"), "encrypted-tarball", "x", NOW - DAY, "index")
    here = seen(strict, "step-ca", files={"encrypted-tarball": [File(made)]})
    assert here.subject.backups["encrypted-tarball"].offsite
    assert outcomes(here, strict) == ["held", "held", "broken", "broken"]


def test_without_a_directory_only_snapshots_are_looked_at(strict):
    here = seen(strict, places=(), files={})
    found = table(here, strict)
    assert [row.outcome for row, _ in found.values()] == ["held", *["not looked"] * 3]
    assert found["pool"][1].advice == "give --backups=DIR"


def test_an_accepted_loss_is_shown_as_accepted(atlas):
    found = table(seen(atlas), atlas)
    assert [row.accepted for row, _ in found.values()] == [False, False, True, True]
    assert found["machine"][0].outcome == "held" and found["machine"][0].allowed is None
    assert found["machine"][1].detail == (
        "the fleet file accepts this loss: nothing that is made on a schedule survives it"
    )
    kept = seen(atlas, files={"tarball": [tarball(400, "off-site")]})
    assert table(kept, atlas)["site"][0].age == 400 * 86400


def test_what_is_allowed_is_the_services_word_then_the_fleets_then_the_default(
    strict,
):
    days = {
        name: [(seconds or 0) / 86400 for seconds in strict.allowed(part).values()]
        for part in strict.parts
        for name in [part.name]
    }
    assert days["mosquitto"] == [2, 8, 8, 35]
    assert days["loki"] == [8, 8, 35, 35]
    assert days["step-ca"] == [8, 8, 2, 8]
    assert days["atlas-terraform-state"] == [2, 2, 2, 8]
    lax = strict.model_copy(update={"survives": {"volume": "4w", "site": "none"}})
    assert lax.allowed(lax.service("step-ca"))["volume"] == 8 * 86400
    accepted = {"volume": 28 * 86400, "pool": 8 * 86400, "machine": 35 * 86400, "site": None}
    assert lax.allowed(lax.service("loki")) == accepted


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
    text = (ROOT / "fleets" / "atlas.yaml").read_text()
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
        ("/mnt/nas/x.tar", SOCKET, "on another machine"),
        ("/mnt/nas/usb/x.tar", SOCKET, NEAR),
        ("/mnt/own/x.tar", SOCKET, NEAR),
        ("/mnt/a b/x.tar", SOCKET, "on another machine"),
        ("/mnt/ssh/x.tar", SOCKET, "on another machine"),
        ("/mnt/auto/x.tar", SOCKET, "on another machine"),
        ("/srv/x.tar", "https://prod:8443", "on another machine"),
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


def objects(fleet, *more, **states):
    names = [f"instance {s.instance}" for s in fleet.services]
    names += [f"volume {s.volumes[0].name}" for s in fleet.services]
    return SourceObjects([*names, "bucket atlas-terraform-state", *more], states)


def test_what_the_fleet_file_does_not_know_is_a_finding(atlas):
    [whole] = covered(objects(atlas), atlas)
    assert (whole.outcome, whole.detail) == ("held", "15 of 15 instances, volumes and buckets")
    strange = ("volume scratch", "volume fast/loki01-data", "bucket x", "instance wiki01")
    found = {one.name: one for one in covered(objects(atlas, *strange), atlas)}
    assert {name for name, one in found.items() if one.outcome == "broken"} == {*strange}
    assert found["volume scratch"].advice == (
        "add it, or accept it, in the fleet file: `not_covered: {volume scratch: REASON}`"
    )


def test_what_is_accepted_is_held_with_its_reason(atlas):
    lax = atlas.model_copy(
        update={"not_covered": {"volume scratch": "a cache", "volume gone": "was one"}}
    )
    here = objects(lax, "volume scratch")
    found = {one.name: one for one in covered(here, lax)}
    assert found["volume scratch"].outcome == "held"
    assert found["volume scratch"].detail == "the fleet file accepts it: a cache"
    assert "not_covered names volume gone, which the source does not have" in list(
        not_looked_at(here, lax)
    )


def test_state_on_the_root_disk_is_a_finding(atlas):
    here = objects(atlas, mosquitto01="/var/lib/mq/", loki01="/loki/chunks", grafana01="")
    (found,) = [one for one in covered(here, atlas) if one.outcome == "broken"]
    assert found.name == "instance mosquitto01"
    assert "it is kept in /var/lib/mq/, on the root disk" in found.detail
    assert "whether grafana01 keep all state" in next(not_looked_at(here, atlas))
