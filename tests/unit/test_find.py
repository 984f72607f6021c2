"""Backup files are found by what is in them, and known bytes in every encoding."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from fixtures.backups import find
from fixtures.backups.find import check_sum, date_in, find_files, identify, search, spellings
from fixtures.errors import BackupDamaged, CouldNotLook
from fixtures.secrets import Secret

MADE = datetime(2026, 11, 28, 2, 0, tzinfo=UTC)


def archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime = len(content), MADE.timestamp()
            made.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def export(name="grafana01-data", kind="custom") -> bytes:
    """Return an export as Incus writes it, as far as it is read."""
    index = {"type": kind, "name": name, "pool": "local", "config": {"volume": {"name": name}}}
    files = {"backup/index.yaml": yaml.safe_dump(index).encode(), "backup/volume/a": b"a"}
    return archive(files)


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


def test_what_lies_next_to_backups_is_none(tmp_path):
    whole = export()
    (tmp_path / "v.tar").write_bytes(whole)
    for name in ("v.tar.sha256", "v.tar.md5", "v.tar.asc", "v.tar.partial", ".v.tar.Xy1", "n.yaml"):
        (tmp_path / name).write_bytes(whole)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "w.tar").write_bytes(whole)
    (tmp_path / "link.tar").symlink_to(tmp_path / "v.tar")
    (tmp_path / "README").write_text("how to restore")
    (tmp_path / "notes.lz4").write_bytes(b"\x04\x22\x4d\x18")
    assert [found.path.name for found in find_files([tmp_path])] == ["v.tar"]


def test_an_encrypted_file_is_known_by_its_index_if_the_passphrase_is(tmp_path):
    words = tmp_path / "words"
    words.write_text("correct horse\n")
    path = tmp_path / "20260101-of-the-ca.gpg"
    path.write_bytes(encrypt(gzip.compress(export("step-ca01-data")), words))
    known = identify(path, Secret("correct horse"))
    assert (known.kind, known.names) == ("encrypted-tarball", "step-ca01-data")
    assert (known.taken_at, known.dated_by) == (MADE, "index")
    unknown = identify(path)
    assert (unknown.kind, unknown.names, unknown.problem) == ("encrypted-tarball", "", "")
    assert (unknown.taken_at, unknown.dated_by) == (datetime(2026, 1, 1, tzinfo=UTC), "name")
    refused = identify(path, Secret("another"))
    assert refused.kind == "encrypted-tarball" and "cannot be decrypted" in refused.problem
    path.write_bytes(export("step-ca01-data"))
    assert identify(path).kind == "tarball"


@pytest.mark.parametrize(
    "name, content, problem",
    [
        ("v.tar.gz", b"", "is no archive"),
        ("v.tar.gz", gzip.compress(export())[:20], "is damaged"),
        ("v.tar.zst", b"\x28\xb5\x2f\xfdxxxx", "is damaged"),
        ("v.tar", b"text", "is no archive"),
        ("v.tar.lz4", b"\x04\x22\x4d\x18xxxx", "is no archive"),
        ("v.tar.gz", gzip.compress(b"x" * 4096), "is no archive"),
        ("v.tar", export(kind="container"), "is an export of a container"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    (found,) = find_files([tmp_path])
    assert problem in found.problem
    assert found.kind == ""


def test_dates_in_names():
    dates = {
        "backup-20261128.tar.gz": datetime(2026, 11, 28, tzinfo=UTC),
        "2026-11-28/v.tar": datetime(2026, 11, 28, tzinfo=UTC),
        "20261128T020000Z/v.tar": MADE,
        "v-20261128-0200.tar": MADE,
        "v-20261399.tar": None,
        "120261128.tar": None,
        "v.tar": None,
    }
    assert {path: date_in(Path("/srv") / path) for path in dates} == dates


def test_a_file_is_compared_with_the_checksum_next_to_it(tmp_path):
    path, checksum = tmp_path / "v.tar", tmp_path / "v.tar.sha256"
    path.write_bytes(b"whole")
    assert check_sum(path) is None
    digest = hashlib.sha256(b"whole").hexdigest()
    for said in (f"{digest}  v.tar\n", digest.upper(), f"{digest} *./v.tar\n"):
        checksum.write_text(said)
        assert check_sum(path) == digest
    for said in ("", "0" * 64 + "  v.tar\n", "nonsense"):
        checksum.write_text(said)
        with pytest.raises(BackupDamaged, match="is not what was written"):
            check_sum(path)


def test_a_directory_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
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
    names = ("./01JD6B9XQ0H0T2S3V4W5X6Y7Z8", "./01JD6B9XQ0H0T2S3V4W5X6Y7Z8/meta.json")
    (tmp_path / "prometheus01-tsdb.tar").write_bytes(archive(dict.fromkeys(names, b"")))
    (found,) = find_files([tmp_path])
    assert (found.kind, found.entries) == ("archive", names)
    assert found.is_called("prometheus01")
    assert not found.is_called("prometheus0", "metheus01")


KEY = bytes(range(120, 152))


def searched(files: dict[str, bytes]) -> list[str]:
    whole = archive(files)
    return search(iter([whole[:1000], whole[1000:]]), {"key": KEY})["key"]


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("encode", [base64.standard_b64encode, base64.urlsafe_b64encode])
def test_a_key_is_found_in_base64_wherever_it_begins(before, encode):
    text = encode(b"\xfb" * before + KEY + b"\xff\xee").decode()
    for width in (64, 76, 10_000):
        pem = "\n".join(textwrap.wrap(text, width)).encode()
        quoted = json.dumps({"key": pem.decode()}).encode()
        for content in (pem, quoted, pem.replace(b"\n", b"\r\n")):
            assert searched({"a": content}) == ["a"]


def test_a_key_is_found_raw_and_in_hexadecimal_and_no_other_key():
    for content in (KEY, KEY.hex().encode(), KEY.hex().upper().encode()):
        files = {"without": b"x" * 5000, "with": b"y" * 777 + content + b"z"}
        assert searched(files) == ["with"]
    other = bytes(range(121, 153))
    content = other + base64.b64encode(other) + other.hex().encode() + KEY[:-1] + b"!" + KEY[1:]
    assert searched({"a": content}) == []
    assert min(map(len, spellings(KEY))) >= len(KEY)


def test_a_key_is_found_across_the_edges_of_what_is_read_at_once(monkeypatch):
    monkeypatch.setattr(find, "CHUNK", 64)
    text = base64.b64encode(KEY)
    for at in (0, 1, 63, 64, 65, 100, 127, 128, 200):
        for content in (KEY, text[:20] + b"\n" + text[20:]):
            assert searched({"a": b"." * at + content + b"." * 90}) == ["a"]


def test_what_cannot_be_searched_says_nothing():
    with pytest.raises(CouldNotLook, match="holds no file"):
        search(iter([archive({})]), {"key": KEY})
    for content in (b"no archive" * 1000, archive({"a": b"x" * 5000})[:3000]):
        with pytest.raises(CouldNotLook, match="cannot be searched"):
            search(iter([content]), {"key": KEY})


def test_an_index_is_searched_like_every_other_file():
    assert searched({"backup/index.yaml": b"name: v\n", "a": KEY}) == ["a"]
    assert searched({"backup/index.yaml": KEY, "a": b"x"}) == ["backup/index.yaml"]
