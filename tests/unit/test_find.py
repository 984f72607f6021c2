"""Backup files are found by what is in them; names and times are hints."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from fixtures.backups.find import check_sum, date_in, find_files, identify
from fixtures.errors import BackupDamaged, CouldNotLook
from fixtures.secrets import Secret

MADE = datetime(2026, 11, 28, 2, 0, tzinfo=UTC)


def export(name="grafana01-data", kind="custom", first="backup/index.yaml") -> bytes:
    """An export as Incus writes it, as far as it is looked at."""
    index = {"type": kind, "name": name, "pool": "local", "config": {"volume": {"name": name}}}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, content in ((first, yaml.safe_dump(index).encode()), ("backup/volume/a", b"a")):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime = len(content), MADE.timestamp()
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def encrypt(data: bytes, passphrase: Path) -> bytes:
    argv = ["gpg", "--batch", "--symmetric", "--cipher-algo", "AES256", "--compress-algo", "none"]
    argv += ["--pinentry-mode", "loopback", "--passphrase-file", str(passphrase)]
    return subprocess.run(argv, input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", ["x", "mosquitto01-data.tar.gz", "a/b/c/20250101-copy.bin"])
def test_a_name_and_a_place_say_nothing_against_the_content(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(export()))
    os.utime(path, (0, 0))
    (found,) = find_files([tmp_path])
    assert (found.kind, found.names, found.taken_at) == ("tarball", "grafana01-data", MADE)
    assert found.dated_by == "index"


def test_what_lies_beside_backups_is_none(tmp_path):
    whole = export()
    (tmp_path / "v.tar").write_bytes(whole)
    for name in ("v.tar.sha256", "v.tar.md5", "v.tar.asc", "v.tar.partial", ".v.tar.Xy1", "n.yaml"):
        (tmp_path / name).write_bytes(whole)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "w.tar").write_bytes(whole)
    (tmp_path / "link.tar").symlink_to(tmp_path / "v.tar")
    (tmp_path / "README").write_text("how to restore")
    assert [one.path.name for one in find_files([tmp_path])] == ["v.tar"]


def test_an_encrypted_file_is_known_by_its_index_where_the_passphrase_is(tmp_path):
    words = tmp_path / "words"
    words.write_text("correct horse\n")
    path = tmp_path / "20260101-of-the-ca.gpg"
    path.write_bytes(encrypt(gzip.compress(export("step-ca01-data")), words))
    known = identify(path, Secret("correct horse"))
    assert (known.kind, known.names, known.taken_at) == (
        "encrypted-tarball",
        "step-ca01-data",
        MADE,
    )
    unknown = identify(path)
    assert (unknown.kind, unknown.names, unknown.problem) == ("encrypted-tarball", "", "")
    assert (unknown.taken_at, unknown.dated_by) == (datetime(2026, 1, 1, tzinfo=UTC), "name")
    assert "cannot be decrypted" in identify(path, Secret("another")).problem


def test_plaintext_under_an_encrypted_name_is_plaintext(tmp_path):
    path = tmp_path / "step-ca01-data.tar.gpg"
    path.write_bytes(export("step-ca01-data"))
    assert identify(path).kind == "tarball"


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("v.tar.gz", b"", "is no archive"),
        ("v.tar.gz", gzip.compress(export())[:20], "is damaged"),
        ("v.tar.zst", b"\x28\xb5\x2f\xfdxxxx", "is damaged"),
        ("v.tar", b"text", "is no archive"),
        ("v.tar.gz", gzip.compress(b"x" * 4096), "is no archive"),
        ("v.tar", export(kind="container"), "is an export of a container"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    (found,) = find_files([tmp_path])
    assert told in found.problem
    assert found.kind == ""


@pytest.mark.parametrize(
    "path, date",
    [
        ("backup-20261128.tar.gz", datetime(2026, 11, 28, tzinfo=UTC)),
        ("2026-11-28/v.tar", datetime(2026, 11, 28, tzinfo=UTC)),
        ("20261128T020000Z/v.tar", MADE),
        ("v-20261128-0200.tar", MADE),
        ("v-20261399.tar", None),
        ("120261128.tar", None),
        ("v.tar", None),
    ],
)
def test_dates_in_names(path, date):
    assert date_in(Path("/srv") / path) == date


def test_a_file_is_held_against_the_checksum_beside_it(tmp_path):
    path = tmp_path / "v.tar"
    path.write_bytes(b"whole")
    assert check_sum(path) is None
    digest = hashlib.sha256(b"whole").hexdigest()
    beside = tmp_path / "v.tar.sha256"
    for said in (f"{digest}  v.tar\n", digest.upper(), f"{digest} *./v.tar\n"):
        beside.write_text(said)
        assert check_sum(path) == digest
    for said in ("", "0" * 64 + "  v.tar\n", "nonsense"):
        beside.write_text(said)
        with pytest.raises(BackupDamaged, match="is not what was written"):
            check_sum(path)


def test_a_directory_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    listed = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CouldNotLook, match="locked: Permission denied"):
        find_files([tmp_path])


def test_the_archive_of_a_service_shows_its_entries(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("./01JD6B9XQ0H0T2S3V4W5X6Y7Z8", "./01JD6B9XQ0H0T2S3V4W5X6Y7Z8/meta.json"):
            archive.addfile(tarfile.TarInfo(name))
    (tmp_path / "prometheus01-tsdb.tar").write_bytes(packed.getvalue())
    (found,) = find_files([tmp_path])
    assert found.kind == "archive"
    assert found.entries[0] == "./01JD6B9XQ0H0T2S3V4W5X6Y7Z8"
    assert found.is_called("prometheus01")
    assert not found.is_called("prometheus0", "metheus01")
