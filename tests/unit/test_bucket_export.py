"""Bucket exports: every damage is named, and a renamed copy keeps nothing but the objects."""

import gzip
import hashlib
import io
import random
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import yaml

from fixtures.errors import BackupDamaged, DrillError
from fixtures.recovery.bucket import BucketUnderDrill, RenamedExport, inspect_export
from fixtures.recovery.drill import tarball_of
from fixtures.secrets import redact
from tests.unit.test_tarball import PEAK

NAME = "atlas-terraform-state"
KEY = "atlas/terraform.tfstate"
SECRET = "HoMdZIahQhz-dyOUlclnV12mO5JCRcQD6nfgFF0J"
READ_ONLY = "b0G-iu-EGfQFvAkwX1wd2jStoHSGSMCMVb5rjh8U"


def index(name=NAME, kind="bucket", inner=None):
    keys = [
        {"name": "admin", "role": "admin", "access-key": "A" * 20, "secret-key": SECRET},
        {"name": "reader", "role": "read-only", "access-key": "B" * 20, "secret-key": READ_ONLY},
    ]
    bucket = {"config": {"size": "1GiB"}, "name": inner or name, "project": "atlas"}
    inside = {"bucket": bucket, "bucket_keys": keys}
    if kind == "custom":
        inside = {"volume": {"name": name}}
    made = {"name": name, "backend": "dir", "pool": "terraform-state", "type": kind}
    return yaml.safe_dump({**made, "config": inside}).encode()


def export(index_bytes=None, *, fill=60_000):
    """The bytes of an export as Incus writes it, uncompressed; without an index for b""."""
    out = io.BytesIO()
    files = {"backup/index.yaml": index() if index_bytes is None else index_bytes}
    files = {path: data for path, data in files.items() if data}
    files[f"backup/bucket/{KEY}"] = b'{"serial": 7}'
    files["backup/bucket/other"] = random.Random(7).randbytes(fill)
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.mtime = len(data), 0o600, 1_767_225_600
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def file(tmp_path):
    def make(data):
        path = tmp_path / "backup.tar.gz"
        path.write_bytes(data)
        return path

    return make


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_an_intact_export_is_read_to_its_last_byte(file, pack):
    data = pack(export())
    seen = inspect_export(file(data), bucket=NAME)
    assert (seen.volume, seen.pool, seen.entries) == (NAME, "terraform-state", 3)
    assert (seen.file_bytes, seen.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert seen.objects.keys() == {KEY, "other"}
    digest = hashlib.sha256(b'{"serial": 7}').hexdigest()
    assert (seen.objects[KEY].size, seen.objects[KEY].sha256) == (13, digest)
    assert seen.keys == ("admin key admin", "read-only key reader")
    assert f"index names bucket {NAME} with 2 keys, 2 objects" in str(seen)
    assert SECRET not in repr(seen) + redact(f"x {SECRET} y")


def test_an_existing_export_is_of_the_moment_that_it_was_found_with(file):
    """Its index may have been packed without a time."""
    drill = SimpleNamespace(take_backup=lambda *_, **__: None)
    bucket = SimpleNamespace(spec=SimpleNamespace(name=NAME, key=KEY), drill=drill)
    at = datetime(2026, 11, 28, tzinfo=UTC)
    assert BucketUnderDrill.read_existing(bucket, file(export()), at).taken_at == at


def test_a_file_cut_short_anywhere_is_damaged_and_never_renamed(file, tmp_path):
    data = gzip.compress(export())
    whole = file(data)
    taken = tarball_of(whole, inspect_export(whole))
    for cut in [*random.Random(3).sample(range(len(data) - 1), 60), len(data) - 5, len(data) - 1]:
        path = file(data[:cut])
        with pytest.raises(BackupDamaged):
            inspect_export(path, bucket=NAME)
        with pytest.raises(BackupDamaged):
            list(RenamedExport(taken, "drill-x-state").chunks())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (export(index("other-state")), f"is a backup of bucket other-state, not of {NAME}"),
        (export(index(kind="custom", inner=NAME)), "an export of a volume, not of a bucket"),
        (export(index(inner="other-state")), f"names both {NAME} and other-state"),
        (export(b""), "is no Incus export: backup/index.yaml is missing in it"),
        (export(b"- not\n- a map\n"), "cannot be read"),
        (export(b"a: {b"), "cannot be read"),
        (export(index() + b"a: !!timestamp b\n"), "cannot be read"),
        (export(index().replace(b"secret-key", b"secret")), "cannot be read"),
        (b"no tarball at all" * 100, "is damaged: no readable tar archive"),
        (bytes(10240), "is no Incus export"),
    ],
)
def test_what_is_not_this_buckets_export_is_named(file, data, message):
    with pytest.raises(DrillError) as told:
        inspect_export(file(data), bucket=NAME)
    assert message in told.value.message
    assert SECRET not in str(told.value)


def test_a_renamed_export_has_another_name_and_fresh_keys(file, tmp_path):
    path = file(gzip.compress(export()))
    before, original = inspect_export(path), path.read_bytes()
    renamed, copy = RenamedExport(tarball_of(path, before), "drill-x-state"), tmp_path / "copy.tar"
    copy.write_bytes(b"".join(renamed.chunks()))
    seen = inspect_export(copy, bucket="drill-x-state")
    assert seen.objects == before.objects
    assert [str(key) for key in renamed.keys] == ["admin key admin", "read-only key reader"]
    revealed = [(key.access, key.secret.reveal()) for key in renamed.keys]
    with tarfile.open(copy) as archive:
        written = yaml.safe_load(archive.extractfile("backup/index.yaml"))
    assert written["config"]["bucket"]["name"] == "drill-x-state"
    rows = written["config"]["bucket_keys"]
    assert revealed == [(row["access-key"], row["secret-key"]) for row in rows]
    assert len({value for pair in revealed for value in pair} | {SECRET, READ_ONLY}) == 6
    assert not {"A" * 20, "B" * 20} & {access for access, _ in revealed}
    for old in (SECRET, READ_ONLY, "A" * 20, NAME):
        assert old.encode() not in copy.read_bytes()
    assert path.read_bytes() == original


def test_a_renamed_export_is_never_whole_in_memory(file, tmp_path):
    path = file(gzip.compress(export(fill=50_000_000), compresslevel=0))
    code = (
        "import sys; from pathlib import Path;"
        "from fixtures.recovery.bucket import RenamedExport, inspect_export;"
        "from fixtures.recovery.drill import tarball_of;"
        "path = Path(sys.argv[1]);"
        "before = peak();"
        "export = tarball_of(path, inspect_export(path));"
        "sum(map(len, RenamedExport(export, 'drill-x-state').chunks()));"
        "print(peak() - before)"
    )
    argv = [sys.executable, "-c", PEAK + code, str(path)]
    grown = int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    assert grown < 30_000, f"{grown} KiB"
