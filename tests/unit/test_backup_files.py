"""The finder of a run: every case by its expectation, and whose each backup is."""

import gzip
import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from fixtures.audit import policy
from fixtures.audit.inventory import BackupInventory, _read_files
from fixtures.backups.find import identify
from fixtures.backups.tarball import inspect
from fixtures.errors import BackupDamaged, CouldNotLook
from fixtures.fleet.load import load_fleet
from fixtures.plugin.audits import not_checked
from fixtures.plugin.options import read_passphrase
from fixtures.recovery.existing import BackupFiles
from fixtures.secrets import Secret
from fixtures.services.registry import SERVICES
from tests.unit.test_find import MADE, archive, encrypt, export

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"
EXPECTED = yaml.safe_load((CASES / "expect.yaml").read_text())
FLEET = load_fleet(ROOT / "fleets" / "atlas.yaml")
SERVICE = {service.name: service for service in FLEET.services}
GRAFANA, STEP_CA, PROMETHEUS = (SERVICE[name] for name in ("grafana", "step-ca", "prometheus"))


def files_in(*places, **more):
    return BackupFiles(places=places, services=tuple(FLEET.services), **more)


def write(path, *more, **about):
    """Write an export, as `export` makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(export(*more, **about))
    return path


def write_secret(path, *more, **about):
    """Write an encrypted one; its passphrase is `correct horse`."""
    words = path.parent.parent / "words"
    words.write_text("correct horse\n")
    path.write_bytes(encrypt(gzip.compress(export(*more, **about)), words))
    return path


def problem_of(path, passphrase=None):
    """Return how a file is judged, found and read to its end: family of the error, and its text."""
    found = identify(path, passphrase)
    if found.problem:
        return found.state, found.problem
    try:
        inspect(path, volume=found.names, passphrase=passphrase)
    except BackupDamaged as error:
        return "damaged", error.message
    return "whole", ""


def test_there_is_a_case_for_each_expectation():
    for part in ("tarballs", "directories"):
        assert set(EXPECTED[part]) == set(os.listdir(CASES / part))


@pytest.mark.parametrize("name", EXPECTED["tarballs"])
def test_each_tarball_is_what_is_expected(name):
    path, expected = CASES / "tarballs" / name, EXPECTED["tarballs"][name]
    found, (state, problem) = identify(path), problem_of(path)
    if expected.get("verdict") == "listed":
        assert state == "other" and "damaged" not in problem
        return
    assert found.names == expected["volume"]
    if "repacked" in expected.get("why", ""):
        assert state == "other" and "Incus imports no such file" in problem
        return
    assert state == ("whole" if expected["readable"] else "damaged"), problem


@pytest.mark.parametrize("name", EXPECTED["directories"])
def test_the_newest_of_each_directory_is_what_is_expected(name):
    place, expected = CASES / "directories" / name, EXPECTED["directories"][name]
    is_encrypted = name == "gpg-sha256"
    subject, kind = (STEP_CA, "encrypted-tarball") if is_encrypted else (GRAFANA, "tarball")
    backups = files_in(place)
    assert backups.files_of(subject, kind)[-1].path == place / expected["newest"]
    if "sum does not match" in expected.get("why", ""):
        with pytest.raises(BackupDamaged, match="is not what was written"):
            backups.newest_file(subject, kind)
    if is_encrypted:
        with pytest.raises(BackupDamaged, match="is not encrypted, although its name says so"):
            backups.newest_file(subject, kind)


@pytest.mark.parametrize("name", EXPECTED["passphrases"])
def test_each_message_opens_with_the_passphrase_as_gpg_reads_it(name, tmp_path):
    path, expected = CASES / "passphrases" / name, EXPECTED["passphrases"][name]
    words = tmp_path / "words"
    shutil.copy(CASES / "passphrases" / expected.get("opens with", "pw"), words)
    words.chmod(0o600)
    state, problem = problem_of(path, read_passphrase(words))
    assert state == ("other" if expected.get("verdict") == "listed" else "whole"), problem


def test_the_runbooks_own_layout_is_found(tmp_path):
    """The tree of the runbook, by its own commands; no note, no name of ours."""
    atlas, elsewhere = tmp_path / "backup" / "atlas", tmp_path / "off-site"
    elsewhere.mkdir()
    for day in ("20261121", "20261128"):
        (atlas / day).mkdir(parents=True)
        at = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).timestamp() + 7200
        for service in FLEET.services:
            volume = service.volumes[0].name
            packed = gzip.compress(export(volume, at=at))
            (atlas / day / f"{volume}.tar.gz").write_bytes(packed)
    secret = write_secret(elsewhere / "step-ca01-backup-20261128.tar.gz.gpg", "step-ca01-data")
    bucket = gzip.compress(export("atlas-terraform-state", kind="bucket"))
    (elsewhere / "terraform-state-backup-20261128.tar.gz").write_bytes(bucket)
    for passphrase in (None, Secret("correct horse")):
        found = files_in(atlas, elsewhere, passphrase=passphrase)
        for service in FLEET.services:
            newest = found.newest_file(service, "tarball")
            assert newest.path == atlas / "20261128" / f"{service.volumes[0].name}.tar.gz"
            assert (newest.taken_at, newest.dated_by) == (MADE, "index")
        newest = found.newest_file(STEP_CA, "encrypted-tarball")
        assert (newest.path, newest.dated_by) == (secret, "index" if passphrase else "name")
        assert found.newest_file(FLEET.buckets[0], "native").kind == "bucket"
    before = files_in(atlas, as_of=datetime(2026, 11, 27, tzinfo=UTC))
    assert before.newest_file(GRAFANA, "tarball").path.parent.name == "20261121"


def test_a_bucket_is_found_under_any_name_and_an_encrypted_export_of_it_is_listed(tmp_path):
    (own,), about = FLEET.buckets, ("atlas-terraform-state",)
    made = write(tmp_path / "one" / "x.bin", *about, kind="bucket")
    assert files_in(made.parent).newest_file(own, "native").path == made
    (tmp_path / "two").mkdir()
    secret = write_secret(tmp_path / "two" / "state.gpg", *about, kind="bucket")
    found = files_in(secret.parent, passphrase=Secret("correct horse"))
    with pytest.raises(CouldNotLook, match="an encrypted export of bucket atlas-terraform-state"):
        found.newest_file(own, "native")


def test_a_backup_of_the_future_is_not_the_newest(tmp_path):
    ahead = datetime.now(UTC) + timedelta(days=3)
    write(tmp_path / "v.tar", at=ahead.timestamp())
    with pytest.raises(CouldNotLook, match="dated 3 d .*in the future by its index"):
        files_in(tmp_path).newest_file(GRAFANA, "tarball")
    write(tmp_path / "w.tar")
    until = files_in(tmp_path, as_of=datetime.now(UTC))
    assert until.newest_file(GRAFANA, "tarball").path.name == "w.tar"


def test_what_is_not_read_here_is_no_damage_and_says_which_older_one_is(tmp_path):
    os.utime(write(tmp_path / "grafana01-data-20261127.tar.zst"), (0, 0))
    (tmp_path / "grafana01-data-20261129.tar.lz4").write_bytes(b"\x04\x22\x4d\x18xxxx")
    with pytest.raises(CouldNotLook, match="is lz4, which is not read here") as caught:
        files_in(tmp_path).newest_file(GRAFANA, "tarball")
    assert caught.value.hint == "the newest that is read here is of 2026-11-28: --as-of=DATE"


def test_an_instances_export_does_not_stand_for_its_volume(tmp_path):
    place, later = tmp_path / "grafana01-data", MADE.timestamp() + 60
    write(place / "grafana01.tar", "grafana01", kind="container", at=later)
    write(place / "v.tar")
    found = files_in(tmp_path)
    assert found.newest_file(GRAFANA, "tarball").path.name == "v.tar"
    assert [file.path.name for file in found.not_read_of(GRAFANA)] == ["grafana01.tar"]
    assert found.not_read_of(STEP_CA) == []


def test_what_lacks_an_index_is_known_by_its_volume_its_instance_or_its_service(tmp_path):
    mine = ["GRAFANA01.tar.gz", "grafana-20261128.tar.gz", "grafana01-data.tar.gz"]
    for name in (*mine, "grafana011.tar.gz", "mosquitto01-data-of-grafana01.tar.gz"):
        (tmp_path / name).write_bytes(b"")
    # A dump of its database is none of its volume.
    (tmp_path / "grafana.db.gz").write_bytes(gzip.compress(b"SQLite format 3\0"))
    found = [file.path.name for file in files_in(tmp_path).files_of(GRAFANA, "tarball")]
    assert sorted(found) == mine


def test_an_archive_that_is_called_like_a_volume_is_listed_and_no_damage(tmp_path):
    write(tmp_path / "v.tar")
    files = {"grafana/grafana.db": b"x", "grafana/plugins/a": b"y"}
    for name in ("grafana01-etc.tar.gz", "grafana01-data-20261129.tar.gz", "photos.tar.gz"):
        (tmp_path / name).write_bytes(gzip.compress(archive(files)))
    (tmp_path / "all.tar").write_bytes(archive({"20261128/loki01-data.tar.gz": b"x"}))
    found = files_in(tmp_path)
    listed = ["all.tar", "grafana01-data-20261129.tar.gz"]
    assert [file.path.name for file in found.files if file.problem] == listed
    with pytest.raises(CouldNotLook, match="is an archive without Incus' backup/index.yaml"):
        found.newest_file(GRAFANA, "tarball")
    secret = tmp_path / "step-ca01-data-20261129.gpg"
    (tmp_path / "words").write_text("correct horse")
    secret.write_bytes(encrypt(archive(files), tmp_path / "words"))
    found = files_in(tmp_path, passphrase=Secret("correct horse"))
    with pytest.raises(CouldNotLook, match="is an encrypted archive without Incus'"):
        found.newest_file(STEP_CA, "encrypted-tarball")


def test_without_a_passphrase_an_encrypted_file_is_one_whatever_its_name_ends_with(tmp_path):
    secret = write_secret(tmp_path / "step-ca01-data-20261128.bin", "step-ca01-data")
    assert files_in(tmp_path).newest_file(STEP_CA, "encrypted-tarball").path == secret


def test_where_nothing_is_found_what_nobody_knows_is_named(tmp_path):
    (tmp_path / "terraform-state-backup-20261128.tar.gz").write_bytes(b"")
    with pytest.raises(CouldNotLook, match="terraform-state-backup-20261128.tar.gz is empty"):
        files_in(tmp_path).newest_file(FLEET.buckets[0], "native")


@pytest.mark.parametrize(
    "place, subject, kind",
    [
        *(
            (place, GRAFANA, "tarball")
            for place in ("grafana/{}/x.tar.gz", "grafana/tarball/{}.tar")
        ),
        ("Grafana01/{}/x.tar.lz4", GRAFANA, "tarball"),
        ("step-ca/{}/x.tar.gz.gpg", STEP_CA, "encrypted-tarball"),
        ("{}/prometheus01-tsdb.tar", PROMETHEUS, "native"),
        ("prometheus/native/{}/x.tar.gz", PROMETHEUS, "native"),
    ],
)
def test_what_is_empty_is_that_of_which_its_directory_speaks(tmp_path, place, subject, kind):
    for path in (tmp_path / place.format("20261128"), tmp_path / "grafana/plugins.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = files_in(tmp_path)
    kinds = ("tarball", "encrypted-tarball", "native")
    of = [(s.name, k) for s in FLEET.services for k in kinds if found.files_of(s, k)]
    assert of == [(subject.name, kind)]
    with pytest.raises(BackupDamaged, match="is empty"):
        found.newest_file(subject, kind)


def test_the_plan_of_a_run_is_what_was_found_first_and_is_looked_at_again(tmp_path):
    first = write(tmp_path / "v.tar")
    backups = files_in(tmp_path)
    assert backups.newest_file(GRAFANA, "tarball").path == first
    second = write(tmp_path / "w.tar", at=MADE.timestamp() + 60)
    assert backups.newest_file(GRAFANA, "tarball").path == first
    assert replace(backups).newest_file(GRAFANA, "tarball").path == second
    first.write_bytes(b"overwritten")
    with pytest.raises(BackupDamaged, match="v.tar is no archive"):
        backups.newest_file(GRAFANA, "tarball")
    first.unlink()
    with pytest.raises(CouldNotLook, match="is gone: pruned, or moved"):
        backups.newest_file(GRAFANA, "tarball")


BLOCK = "01JD6B9XQ0H0T2S3V4W5X6Y7Z8"


def answer(uid, folder=""):
    """Return a dashboard as the API shows it."""
    meta = {"type": "db", "folderUid": folder, "folderTitle": folder.upper()}
    model = {"uid": uid, "title": uid, "panels": [], "schemaVersion": 39}
    return json.dumps({"meta": meta, "dashboard": model}).encode()


@pytest.mark.parametrize(
    "layout, newest",
    [
        (["grafana-dashboards/dashboard-a.json"], "grafana-dashboards"),
        (["repository/.git/HEAD", "repository/a/x.json", "repository/b.json"], "repository"),
        *(
            ([f"g/{day}/d/dashboard-a.json" for day in (older, newest)], f"g/{newest}")
            for older, newest in (
                ("20261127", "20261128"),
                ("2026/11/27", "2026/11/28"),
                ("2026_11_27", "2026_11_28"),
                ("20261127020000", "20261128020000"),
            )
        ),
        (["dashboards/Infra/a.json", "dashboards/Apps/b.json"], "dashboards"),
        (["a.json", "b.json"], "."),
    ],
)
def test_dashboards_are_found_as_the_runbook_exports_them(tmp_path, layout, newest):
    for name in layout:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        is_json = name.endswith(".json")
        (tmp_path / name).write_bytes(answer(Path(name).stem, "infra") if is_json else b"ref: x\n")
    (tmp_path / "package.json").write_text("{}")
    found = files_in(tmp_path).newest_file(GRAFANA, "native")
    assert (found.path, found.kind) == (tmp_path / newest, "directory")
    assert found.dated_by == ("name" if newest.startswith("g/") else "file")


@pytest.mark.parametrize(
    "service, older, newest, why",
    [
        (GRAFANA, "a.json", {"dashboard-a.json": b'{"message":"Unauthorized"}'}, "Unauthorized"),
        (GRAFANA, "a.json", {"dashboard-a.json": b""}, "it is empty"),
        (PROMETHEUS, f"{BLOCK}/meta.json", {f"{BLOCK}/index": b""}, "lacks chunks, meta.json"),
    ],
)
def test_an_export_that_failed_is_the_newest_all_the_same(tmp_path, service, older, newest, why):
    for path, content in {
        f"20261127/{older}": answer("a"),
        **{f"20261128/{name}": held for name, held in newest.items()},
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    found = files_in(tmp_path).newest_file(service, "native")
    with pytest.raises(BackupDamaged, match=why):
        SERVICES[service.kind].inspect_native(found.path)


def test_a_service_whose_kind_comes_twice_is_known_by_name(tmp_path):
    names = (f"./{BLOCK}", f"./{BLOCK}/meta.json")
    (tmp_path / "other-tsdb.tar").write_bytes(archive(dict.fromkeys(names, b"")))
    assert files_in(tmp_path).files_of(PROMETHEUS, "native")
    second = PROMETHEUS.model_copy(update={"name": "other", "instance": "other01"})
    both = BackupFiles(places=(tmp_path,), services=(PROMETHEUS, second))
    assert both.files_of(PROMETHEUS, "native") == []
    assert both.files_of(second, "native")


@pytest.fixture
def locked(monkeypatch):
    """Makes a call of `os` fail for a path that ends so."""

    def lock(call, name):
        works = getattr(os, call)

        def refuse(path, *more, **options):
            if str(path).endswith(name):
                raise PermissionError(13, "Permission denied", str(path))
            return works(path, *more, **options)

        monkeypatch.setattr(os, call, refuse)

    return lock


def test_what_may_not_be_read_is_part_of_why_there_is_none(tmp_path, locked):
    (tmp_path / "locked").mkdir()
    locked("scandir", "locked")
    with pytest.raises(CouldNotLook, match="not looked at: .*locked: a directory that cannot be"):
        files_in(tmp_path).newest_file(GRAFANA, "tarball")


@pytest.fixture
def read_by_an_audit(tmp_path):
    """What an audit of a service reads of the files below `tmp_path`."""

    def read(subject, passphrase=None):
        seen = BackupInventory(subject, datetime.now(UTC), (tmp_path,))
        _read_files(seen, files_in(tmp_path, passphrase=passphrase))
        return seen

    return read


def test_an_audit_names_what_cannot_be_read_and_calls_no_other_kind_damaged(
    tmp_path, read_by_an_audit, locked
):
    write(tmp_path / "grafana01.tar", "grafana01", kind="container")
    (tmp_path / "grafana01-data-20261128.tar.lz4").write_bytes(b"\x04\x22\x4d\x18xxxx")
    for name in ("grafana01-data.tar.gz", "private"):
        (tmp_path / name).write_bytes(b"")
    locked("open", "private")
    seen = read_by_an_audit(GRAFANA)
    assert seen.files["tarball"] == []
    assert [line.partition(": ")[2] for line in sorted(seen.unreadable)] == [
        "grafana01-data.tar.gz is empty: it has 0 bytes",
        "cannot be read: Permission denied",
    ]
    assert sorted(seen.not_read) == [
        f"{tmp_path}/grafana01-data-20261128.tar.lz4: grafana01-data-20261128.tar.lz4 is lz4, "
        "which is not read here: nothing is known of it",
        f"{tmp_path}/grafana01.tar: grafana01.tar is an export of an instance, not of a custom "
        "volume: grafana01",
    ]
    (broken,) = [one.detail for one in policy.files(seen) if one.name == "every file can be read"]
    assert "Permission denied" in broken and "lz4" not in broken
    assert "grafana01.tar is an export of an instance" in "; ".join(not_checked(seen, None))


def test_an_audit_goes_on_if_a_running_backup_renames_its_half_file(tmp_path):
    half, backups = tmp_path / "v.tar.partial", files_in(tmp_path)
    half.write_bytes(b"")
    os.utime(half, (0, 0))
    seen = BackupInventory(GRAFANA, datetime.now(UTC), (tmp_path,))
    _read_files(seen, backups)
    assert seen.unfinished == [half]
    half.unlink()
    _read_files(seen, backups)
    assert seen.unfinished == []


def test_an_audit_says_what_dates_a_backup(tmp_path, read_by_an_audit):
    write_secret(tmp_path / "step-ca01-data-20261121.tar.gz.gpg", "step-ca01-data")
    seen = read_by_an_audit(STEP_CA)
    (newest,) = [one for one in policy.ages(seen) if one.name == "newest encrypted-tarball"]
    assert "old by its name; the schedule @weekly allows" in newest.detail


BLOCKS = {f"{BLOCK}/meta.json": b"{}"}


@pytest.mark.parametrize("secret", [None, Secret("correct horse")])
@pytest.mark.parametrize(
    "subject, name, content",
    [
        (PROMETHEUS, "prometheus01-tsdb-20261129.tar.gpg", BLOCKS),
        (PROMETHEUS, "prometheus-tsdb-20261129.tar.gpg", BLOCKS),
        (FLEET.buckets[0], "atlas-terraform-state-20261129.tar.gpg", None),
        (PROMETHEUS, "prometheus01-tsdb-20261129.tar", {"wal/00000000": b""}),
        (GRAFANA, "grafana-dashboards-20261129.tar.gz", {"dashboard-a.json": b"{}"}),
        (GRAFANA, "grafana-dashboards-20261129.tar.lz4", b"\x04\x22\x4d\x18xxxx"),
    ],
)
def test_a_newer_native_backup_that_is_not_read_hides_behind_no_older_one(
    tmp_path, subject, name, content, secret
):
    """An older one was drilled as the newest."""
    (tmp_path / "prometheus01-tsdb-20261101.tar").write_bytes(archive(BLOCKS))
    write(tmp_path / "20261101" / "x.tar", "atlas-terraform-state", kind="bucket", at=0)
    (tmp_path / "2026-11-01").mkdir()
    (tmp_path / "2026-11-01" / "dashboard-a.json").write_bytes(answer("a"))
    (tmp_path / ".words").write_text("correct horse")
    if not isinstance(content, bytes):
        packed = archive(content) if content else export("atlas-terraform-state", kind="bucket")
        content = encrypt(packed, tmp_path / ".words") if name.endswith("gpg") else packed
    found = files_in(tmp_path, passphrase=secret)
    assert found.newest_file(subject, "native").taken_at == datetime(2026, 11, 1, tzinfo=UTC)
    (tmp_path / name).write_bytes(content)
    found = files_in(tmp_path, passphrase=secret)
    with pytest.raises(CouldNotLook, match=f"newest native .*{name}"):
        found.newest_file(subject, "native")
