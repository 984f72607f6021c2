"""Backup files are found by what is in them, and known bytes in every encoding."""

import base64
import bz2
import gzip
import hashlib
import io
import json
import os
import random
import socket
import subprocess
import tarfile
import textwrap
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from fixtures.backups import find
from fixtures.backups.find import date_in, identify, list_files, search, spellings
from fixtures.backups.sums import check_sum
from fixtures.backups.tarball import inspect
from fixtures.errors import BackupDamaged, CouldNotLook
from fixtures.recovery.existing import BackupFiles
from fixtures.secrets import Secret
from tests.imitations.instance import spec_of

MADE = datetime(2026, 11, 28, 2, 0, tzinfo=UTC)
STAMP = MADE.timestamp()


def archive(files, at=STAMP):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime = len(content), at
            made.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def export(name="grafana01-data", kind="custom", at=STAMP):
    """Return an export as Incus writes it, as far as it is read."""
    index = {"type": kind, "name": name, "pool": "local", "config": {"volume": {"name": name}}}
    files = {"backup/index.yaml": yaml.safe_dump(index).encode(), "backup/volume/a": b"a"}
    return archive(files, at)


def find_files(places, passphrase=None):
    return BackupFiles(places=tuple(places), passphrase=passphrase).files


def gpg(data, *options):
    argv = ["gpg", "--batch", "--no-autostart", "--pinentry-mode", "loopback", *options]
    return subprocess.run(argv, input=data, capture_output=True, check=True).stdout


def encrypt(data, passphrase, *options):
    quickly = ("--s2k-count", "65536", "--compress-algo", "none", "--cipher-algo", "AES256")
    return gpg(data, *options, *quickly, "--symmetric", "--passphrase-file", str(passphrase))


@pytest.fixture
def words(tmp_path):
    """The file of the passphrase."""
    file = tmp_path / ".words"
    file.write_text("correct horse\n")
    return file


@pytest.mark.parametrize(
    "name",
    [
        *("x", "mosquitto01-data.tar.gz", "a/b/c/20250101-copy.bin"),
        *("a\nb", "caf\udce9", "GRAFANA01-DATA.TAR", "\x1b[2J.tar"),
    ],
)
def test_a_name_and_a_place_say_nothing_against_the_content(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(export()))
    os.utime(path, (0, 0))
    (found,) = find_files([tmp_path, tmp_path])
    assert (found.path, found.kind, found.names) == (path, "tarball", "grafana01-data")
    assert (found.taken_at, found.dated_by) == (MADE, "index")


def test_what_lies_next_to_backups_is_none(tmp_path):
    whole = export()
    (tmp_path / "v.tar").write_bytes(whole)
    names = [
        "v.tar.sha256",
        "v\n.tar.b2",
        "v.tar.md5.txt",
        "v.tar.sum",
        "v.tar.PARTIAL",
        "v.log",
        "v.tar.sig",
    ]
    names += [".v.tar.Xy1Ab2", ".git/objects/x.tar", "lost+found/w.tar", "#recycle/w.tar"]
    names += ["v.tar.uploading", "20261128.inprogress/w.tar", "v.log.1.gz", "v.tar.list.gz"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(whole)
    (tmp_path / "v.tar.asc").write_text("-----BEGIN PGP SIGNATURE-----\n\niQEzBAAB\n")
    (tmp_path / "key.gpg").write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEaSs\n")
    (tmp_path / "rsa.gpg").write_bytes(b"\x99\x01\x0d\x04iK" + bytes(99))
    (tmp_path / "SHA256SUMS.gpg").write_bytes(b"\x88\x75\x04\x00\x16" + bytes(99))
    (tmp_path / "pack").write_bytes(b"\x1f\x8b" + random.Random(1).randbytes(9000))
    (tmp_path / "link.tar").symlink_to(tmp_path / "v.tar")
    (tmp_path / "README").write_text("how to restore")
    (tmp_path / "dangling.tar").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.tar")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.tar"))
    # Of the names of one file the first that can be a backup's.
    for name in (".v.tar.tmp", "a.tar.part", "w.tar"):
        os.link(tmp_path / "v.tar", tmp_path / name)
    assert [found.path.name for found in find_files([tmp_path])] == ["v.tar"]


def test_an_encrypted_file_is_known_by_its_index_if_the_passphrase_is(tmp_path, words):
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


def image(compression=gzip.compress):
    return compression(archive({"metadata.yaml": b"a: b\n", "rootfs/etc/passwd": b""}))


def repacked(prefix):
    index = yaml.safe_dump({"type": "custom", "name": "v", "pool": "local", "config": {}}).encode()
    return archive({f"{prefix}volume/a": b"a", f"{prefix}index.yaml": index})


def bad_index(index):
    return archive({"backup/index.yaml": index, "backup/volume/a": b""})


WITHOUT_CONFIG = b"{type: custom, name: v, pool: local}"
BAD_INDEXES = (b"\0", b"[" * 5000, *(b"a: " + a for a in (b"2026-13-45", b"!!bool b", b"!!int b")))
LARGE_WINDOW = b"\x28\xb5\x2f\xfd\x00\xa8" + (1 | 8 << 3).to_bytes(3, "little") + b"12345678"
"""A frame header of zstd that claims 2 GiB (RFC 8878, 3.1.1.1.2), then a raw block."""


@pytest.mark.parametrize(
    "state, name, content, problem",
    [
        ("damaged", "v.tar.gz", b"", "is empty"),
        ("damaged", "V.TAR.GZ", b"", "is empty"),
        ("damaged", "v.tar.gz", gzip.compress(export(), mtime=0)[:20], "is damaged"),
        ("damaged", "v.tar.zst", b"\x28\xb5\x2f\xfdxxxx", "is damaged"),
        ("damaged", "v.tar", b"text", "is no archive"),
        ("damaged", "v.tar", bytes(10240), "is no archive"),
        ("damaged", "v.tar.gz", gzip.compress(b"x" * 4096, mtime=0), "is no archive"),
        ("damaged", "v.tar.gpg", b"text", "is no archive"),
        ("damaged", "v.tar.gpg", gpg(export(), "--store"), "not encrypted"),
        *(("damaged", "v.tar", bad_index(index), "index.yaml cannot") for index in BAD_INDEXES),
        ("damaged", "v.tar", bad_index(b"x" * 2000)[:2048], "no readable tar archive"),
        ("damaged", "v.bin", archive({"backup/volume/a": b"a"}), "index.yaml is missing"),
        ("other", "v.tar.lz4", b"\x04\x22\x4d\x18xxxx", "is lz4, which is not read here"),
        ("other", "v.tar.gz", b"\x02\x21\x4c\x18xxxx", "is lz4 of the old format"),
        ("other", "v", b"hsqs" + bytes(99), "is squashfs"),
        ("other", "v.tar", export(kind="container"), "is an export of an instance"),
        ("other", "v.tar", export(kind="virtual-machine"), "is an export of an instance"),
        ("other", "v.tar.gz", image(), "is an image"),
        ("other", "v.tar", archive(dict.fromkeys(("metadata.yaml", "templates/a"), b"")), "image"),
        ("other", "v.tar", repacked("./backup/"), "was repacked"),
        ("other", "v.tar", repacked("20261128/backup/"), "was repacked"),
        ("other", "v.tar", repacked("/srv/20261128/backup/"), "was repacked"),
        ("other", "v.tar.gz.age", b"age-encryption.org/v1\n", "is encrypted by age"),
        ("other", "v.age", b"-----BEGIN AGE ENCRYPTED FILE-----\n", "is encrypted by age in ASCII"),
        ("other", "v.tar.gz.enc", b"Salted__" + bytes(32), "is encrypted by openssl"),
        ("other", "v", b"U2FsdGVkX1" + b"A" * 32, "is encrypted by openssl in ASCII"),
        ("other", "v", b"$ANSIBLE_VAULT;1.1;AES256\n3132", "is encrypted by Ansible Vault"),
        *(
            ("other", f"v.{name}", b"\xa1" * 99, "is encrypted, by its name, in a way that")
            for name in ("tar.gz.p7m", "tar.cpt", "tgz.aes", "tar.zst.enc", "tar.gpg.b64")
        ),
        ("other", "v.tar", archive({"backup/index.yaml": WITHOUT_CONFIG}), "as of an old LXD"),
        ("other", "v", b"btrfs-stream\0" + bytes(32), "is a stream of btrfs send"),
        ("other", "v.tar.zst", LARGE_WINDOW, "--long"),
        ("other", "syslog.1.gz", gzip.compress(b"a line\n" * 99, mtime=0), "holds no tar archive"),
    ],
    # The time in an archive of gzip would be another in each worker.
    ids=lambda value: "content" if isinstance(value, bytes) else None,
)
def test_what_is_damaged_or_of_another_kind_says_why(tmp_path, state, name, content, problem):
    (tmp_path / name).write_bytes(content)
    (found,) = find_files([tmp_path])
    assert (problem in found.problem, found.state) == (True, state), found.problem
    assert state == "damaged" or "damaged" not in found.problem
    assert state == "other" or not found.names


@pytest.mark.parametrize(
    "names",
    [
        *("v.tar.aa v.tar.ab v.tar.ac", "v.tar00 v.tar01", "v.tar.part001 v.tar.part002"),
        *("v.tar.gzaa v.tar.gzab v.tar.gzac", "v.tgz.aaa v.tgz.aab"),
    ],
)
def test_pieces_of_a_file_are_named_once_and_none_is_called_damaged(tmp_path, names):
    whole, names = export(), names.split()
    for at, name in enumerate(names):
        (tmp_path / name).write_bytes(whole[700 * at : 700 * (at + 1)])
    (found,) = find_files([tmp_path])
    assert (found.path.name, found.state) == (names[0], "other")
    assert "is a piece of a file that was split" in found.problem


def test_one_piece_alone_and_whole_archives_with_numbers_are_backups(tmp_path):
    for name in ("a.tar.aa", "b.tar.01", "b.tar.02"):
        (tmp_path / name).write_bytes(export())
    assert [(f.path.name, f.state) for f in find_files([tmp_path])] == [
        (name, "whole") for name in ("a.tar.aa", "b.tar.01", "b.tar.02")
    ]


def test_a_link_that_leads_out_of_all_places_is_named(tmp_path):
    first, second, outside = (tmp_path / name for name in ("first", "second", "outside"))
    for place in (first, second, outside):
        place.mkdir()
    (second / "v.tar").write_bytes(export())
    (first / "in.tar").symlink_to("../second/v.tar")
    for name, target in (("a.tar", outside / "gone"), ("b", outside), (".c", outside)):
        (first / name).symlink_to(target)
    backups = BackupFiles(places=(first, second))
    links = {f.path.name: f for f in backups.files if f.kind == "link"}
    assert sorted(links) == ["a.tar", "b"]
    assert [f.path.name for f in backups.files if f.state == "whole"] == ["v.tar"]
    said = f"{first}/b: a symbolic link to {outside}, which is not followed: give that as a place, "
    assert f"{said}too" in backups.not_looked_at("tarball")
    assert backups.not_looked_at("snapshot") == []
    (first / "grafana01-data-20261129.tar").symlink_to(tmp_path / "v.tar")
    (first / "grafana01-data-20261128.tar").write_bytes(export())
    (tmp_path / "v.tar").write_bytes(export())
    with pytest.raises(CouldNotLook, match="20261129.tar: a symbolic link to .* not followed"):
        BackupFiles(places=(first,)).newest_file(spec_of("grafana"), "tarball")
    assert list(list_files([first])) == [first / "grafana01-data-20261128.tar"]


DAY = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    "place, path, date",
    [
        *((None, f"/srv/{path}", DAY) for path in ("backup-20261128.tar.gz", "2026-11-28/v.tar")),
        *((None, f"/srv/v-{at}.tar", MADE) for at in ("20261128T0200Z", "20261128T0330+0130")),
        *((None, f"/srv/v-{at}.tar", MADE) for at in ("2026-11-28_02-00-00", "20261128-0200")),
        (None, "/srv/20261128T020000Z/v.tar", MADE),
        (None, "/srv/v-20261128-020000-654321.tar.zst", MADE),
        *((None, f"/srv/v-2026{at}.tar", MADE) for at in ("1127T210000-0500", "_11_28-02_00_00")),
        *((None, f"/srv/v-20261128-{at}.tar", MADE) for at in ("020000-1200", "0200-1")),
        *((None, f"/srv/v-20261128-{number}.tar", DAY) for number in ("1", "9999", "12345")),
        (None, "/srv/2026.11.28/v.tar", DAY),
        *((None, f"/srv/{path}", None) for path in ("v-20261399.tar", "120261128.tar", "v.tar")),
        # A directory below the place, and the place itself, may have it; none above.
        ("/srv/20250101", "/srv/20250101/20261128/volumes/a/v.tar", DAY),
        *(("/srv/20250101", f"/srv/20250101/2026/11/28{end}.tar", DAY) for end in ("/v", "")),
        ("/srv/20261128", "/srv/20261128/v.tar", DAY),
        ("/20250101/srv", "/20250101/srv/a/v.tar", None),
    ],
)
def test_a_date_is_that_of_the_name_else_of_the_nearest_directory(place, path, date):
    assert date_in(Path(path), place and Path(place)) == date


DIGESTS = {
    name: hashlib.new(name, b"whole").hexdigest()
    for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
}
SHA256, BLAKE2 = DIGESTS["sha256"], hashlib.blake2b(b"whole", digest_size=32)
BLAKE2B = hashlib.blake2b(b"whole").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.mark.parametrize(
    "name, said",
    [
        ("v.tar.sha256", f"{SHA256}  v.tar\n"),
        ("v.tar.sha256", SHA256.upper()),
        ("v.tar.sha256", f"{SHA256} *./v.tar\n"),
        ("v.tar.sha256", f"{SHA256}  /backup/atlas/20261128/v.tar\r\n"),
        ("v.tar.sha256", f"{SHA256}  as-it-was-called-before.tar\n"),
        ("v.tar.sha256", f"SHA256 (v.tar) = {SHA256}\n"),
        ("v.tar.sha256", f"SHA2-256(v.tar)= {SHA256}\n"),
        ("v.tar.sha256", f"{OTHER}  w.tar\n{SHA256}  v.tar\n"),
        *((f"v.tar.{name}", SHA256) for name in ("SHA256", "Sha256", "sha256.txt", "checksum")),
        *(("v.tar.sha256", f"{SHA256}{gap}v.tar") for gap in (" ", "\t", "  /srv/")),
        ("v.tar.sha256", f"\ufeff{SHA256}  v.tar\r\n"),
        ("v.tar.sha256", f"SHA256 (v.tar) = {SHA256} \n"),
        *((f"{name}sha256", f"{OTHER}  w.tar\n{SHA256}  v.tar\n") for name in ("v.", "all.", "")),
        *((f"SHA256SUMS{mark}", f"{SHA256}  v.tar\n") for mark in ("-20261128", ".2026-11-28")),
        *((f"v.tar.{name}", BLAKE2B) for name in ("b2", "blake2", "blake2b")),
        ("v.tar.sha3-256", hashlib.sha3_256(b"whole").hexdigest()),
        ("CHECKSUMS", f"SHA512/256 (v.tar) = {hashlib.new('sha512_256', b'whole').hexdigest()}"),
        # As docker, jq, openssl, PowerShell, `gpg --print-md` and `openssl dgst -binary | base64`.
        *(("v.tar.sha256", f"{before}{SHA256}") for before in ("sha256:", "(stdin)= ", "v.tar: ")),
        ("v.tar.sha256", json.dumps({"file": "v.tar", "sha256": SHA256})),
        ("v.tar.sha256", f"Algorithm Hash Path\r\n---- --- ---\r\nSHA256 {SHA256} C:\\v.tar\r\n"),
        ("v.tar.sha256", "\0".join(f"\ufeff{SHA256}  v.tar\r\n") + "\0"),
        ("v.tar.sha256", "v.tar: " + "\n   ".join(textwrap.wrap(SHA256.upper(), 8))),
        ("v.tar.sha256", base64.b64encode(bytes.fromhex(SHA256)).decode() + "\n"),
        ("SHA256SUMS", f"{'0' * 64}  v.tar\n{SHA256}  v.tar\n"),
        *((f"v.tar.{algorithm}", digest) for algorithm, digest in DIGESTS.items()),
        ("v.tar.b2", f"{BLAKE2B}  v.tar"),
        ("B2SUMS", f"BLAKE2b-256 (v.tar) = {BLAKE2.hexdigest()}"),
        ("SHA256SUMS", f"{OTHER}  w.tar\n{SHA256} *v.tar\n{OTHER}  20261128/v.tar\n"),
        ("MD5SUMS", f"{DIGESTS['md5']}  ./v.tar\n"),
        ("sha256sum.txt", f"{SHA256}  v.tar\0{OTHER}  w.tar\0"),
        ("CHECKSUMS", f"SHA512 (v.tar) = {DIGESTS['sha512']}\n"),
        ("CHECKSUMS", f"SHA256 (v.tar) = {base64.b64encode(bytes.fromhex(SHA256)).decode()}\n"),
    ],
)
def test_a_file_is_compared_with_the_checksums_next_to_it(tmp_path, name, said):
    path = tmp_path / "v.tar"
    path.write_bytes(b"whole")
    assert check_sum(path) is None
    (tmp_path / name).write_text(said, newline="")
    assert check_sum(path) is not None
    path.write_bytes(b"other")
    with pytest.raises(BackupDamaged, match="is not what was written"):
        check_sum(path)


@pytest.mark.parametrize(
    "name, said",
    [
        *(("v.tar.sha256", said) for said in ("", "0" * 64 + "  v.tar\n", "nonsense")),
        ("v.tar.sha256", f"{SHA256}  w.tar\n{SHA256}  x.tar\n"),
        *(("v.tar.b2", f"{digits}  v.tar\n") for digits in ("a", "ab" * 65)),
        ("../SHA256SUMS", f"{OTHER}  v.tar\n{OTHER}  ./20261128/v.tar\n"),
        ("SHA256SUMS", f"{OTHER}  20261128/v.tar\n"),
        ("SHA256SUMS", f"{OTHER}  v.tar\n{DIGESTS['md5']}  v.tar\n"),
    ],
)
def test_a_sidecar_that_says_nothing_is_no_proof(tmp_path, name, said):
    path = tmp_path / "20261128" / "v.tar"
    path.parent.mkdir()
    path.write_bytes(b"whole")
    # A list above names files below, and no others.
    (tmp_path / "SHA256SUMS").write_text(f"{OTHER}  v.tar\n{SHA256}  20261128/v.tar\n")
    assert check_sum(path) == SHA256
    (path.parent / name).write_text(said)
    with pytest.raises(BackupDamaged, match="is not what was written"):
        check_sum(path)


def test_a_sum_of_an_algorithm_that_is_not_known_says_nothing(tmp_path):
    path = tmp_path / "v.tar"
    path.write_bytes(b"whole")
    lines = [f"{name} (v.tar) = {'0' * size}\n" for name, size in (("XXH128", 32), ("RMD", 40))]
    (tmp_path / "v.tar.checksum").write_text("".join(lines))
    assert check_sum(path) is None


@pytest.mark.parametrize("name", ["a\nb.tar", "a\\b\r.tar", "caf\udce9.tar", "a (b) = c.tar"])
@pytest.mark.parametrize("options", [[], ["--binary"], ["--tag"], ["--zero"]])
def test_what_coreutils_writes_is_read(tmp_path, name, options):
    path = tmp_path / name
    path.write_bytes(b"whole")
    argv = ["sha256sum", *options, os.fsencode(name), "other"]
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "SHA256SUMS").write_bytes(subprocess.check_output(argv, cwd=tmp_path))
    assert check_sum(path) == SHA256
    path.write_bytes(b"other")
    with pytest.raises(BackupDamaged):
        check_sum(path)


def test_what_cannot_be_read_is_listed_and_the_rest_is_found(tmp_path, monkeypatch):
    for name in ("a.tar", "b.tar"):
        (tmp_path / name).write_bytes(export())
    (tmp_path / "locked").mkdir()
    listed, opened = os.scandir, os.open

    def refuse(path, end, error, do):
        if str(path).endswith(end):
            raise OSError(error, os.strerror(error), str(path))
        return do()

    monkeypatch.setattr(os, "scandir", lambda p: refuse(p, "locked", 13, lambda: listed(p)))
    monkeypatch.setattr(os, "open", lambda p, *a: refuse(p, "b.tar", 5, lambda: opened(p, *a)))
    found = {file.path.name: (file.state, file.problem) for file in find_files([tmp_path])}
    assert found == {
        "a.tar": ("whole", ""),
        "b.tar": ("unread", "cannot be read: Input/output error"),
        "locked": ("unread", "a directory that cannot be read: Permission denied"),
    }


@pytest.mark.parametrize(
    "compress, encrypted",
    [(bytes, False), (gzip.compress, False), (bz2.compress, False), (gzip.compress, True)],
)
def test_an_index_behind_the_content_is_found(tmp_path, words, compress, encrypted):
    """As `tar -c backup` packs it, in the order of the directory."""
    index = {"type": "custom", "name": "v", "pool": "local", "config": {"volume": {"name": "v"}}}
    noise = random.Random(1).randbytes(3 << 20)
    files = {"backup/volume/a": noise, "backup/index.yaml": yaml.safe_dump(index).encode()}
    content = compress(archive(files))
    content = encrypt(content, words) if encrypted else content
    (tmp_path / "x.bin").write_bytes(content)
    (found,) = find_files([tmp_path], Secret("correct horse"))
    assert (found.names, found.state, found.dated_by) == ("v", "whole", "index")
    assert found.kind == ("encrypted-tarball" if encrypted else "tarball")
    (tmp_path / "x.bin").write_bytes(content[: len(content) // 2])
    (found,) = find_files([tmp_path], Secret("correct horse"))
    assert found.state == "damaged"


def test_of_an_archive_of_others_only_the_beginning_is_read(tmp_path):
    """Whatever is wrong behind it: it may have 100 GB, and lie on another machine."""
    whole = archive({"photos/a": bytes(3 << 20), "photos/b": b""})
    (tmp_path / "x").write_bytes(gzip.compress(whole)[:-1])
    (found,) = find_files([tmp_path])
    assert (found.kind, found.entries, found.problem) == ("archive", ("photos/a",), "")


def test_an_index_without_a_time_leaves_the_date_to_the_name(tmp_path):
    """As of an archive that was packed again to be reproducible."""
    (tmp_path / "v-20261128T0200Z.tar").write_bytes(export(at=315532800))
    (tmp_path / "w.tar").write_bytes(export(at=0))
    os.utime(tmp_path / "w.tar", (MADE.timestamp() + 60,) * 2)
    found = [(file.taken_at, file.dated_by) for file in find_files([tmp_path])]
    assert found == [(MADE, "name"), (MADE + timedelta(seconds=60), "file")]


@pytest.mark.parametrize(
    "suffix, armour",
    [(".gpg", []), (".pgp", []), (".asc", ["--armor"]), (".GPG", ["--armor"]), ("", [])],
)
def test_every_form_of_a_symmetric_message_is_known(tmp_path, words, suffix, armour):
    whole = encrypt(gzip.compress(export("step-ca01-data")), words, *armour)
    (tmp_path / f"step-ca01-backup-20261128.tar.gz{suffix}").write_bytes(whole)
    (found,) = find_files([tmp_path], Secret("correct horse"))
    assert (found.names, found.state) == ("step-ca01-data", "whole")
    assert found.kind == "encrypted-tarball"
    assert inspect(found.path, volume="step-ca01-data", passphrase=Secret("correct horse"))


def test_no_binary_file_is_taken_for_a_message_by_its_first_byte(tmp_path):
    for first in (0x84, 0x85, 0x8C, 0xC1, 0xC3):
        noise = bytes([first]) + random.Random(first).randbytes(5000)
        (tmp_path / f"{first}.bin").write_bytes(noise)
    assert find_files([tmp_path]) == []


def test_a_time_that_no_calendar_has_is_none(tmp_path):
    (tmp_path / "a.tar").write_bytes(export(at=1e18))
    (file,) = find_files([tmp_path])
    assert (file.kind, file.names, file.state) == ("tarball", "grafana01-data", "whole")
    assert inspect(file.path, volume=file.names).volume == "grafana01-data"


def test_two_thousand_files_are_searched_fast(tmp_path):
    whole = gzip.compress(export())
    for number in range(2_000):
        directory = tmp_path / f"{number % 100}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number}.tar.gz").write_bytes(whole if number % 10 == 0 else b"text " * 99)
    begun = time.process_time()
    assert sum(file.state == "whole" for file in find_files([tmp_path])) == 200
    assert time.process_time() - begun < 12


def test_the_archive_of_a_service_shows_its_entries(tmp_path):
    names = ("./01JD6B9XQ0H0T2S3V4W5X6Y7Z8", "./01JD6B9XQ0H0T2S3V4W5X6Y7Z8/meta.json")
    (tmp_path / "prometheus01-tsdb.tar").write_bytes(archive(dict.fromkeys(names, b"")))
    (found,) = find_files([tmp_path])
    assert (found.kind, found.entries) == ("archive", names)
    assert found.is_called("prometheus01")
    assert not found.is_called("prometheus0", "metheus01")


KEY = bytes(range(120, 152))


def searched(files):
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
            assert searched({"backup/index.yaml": b"x", "a": b"." * at + content + b".."}) == ["a"]


def test_what_cannot_be_searched_says_nothing():
    assert searched({"backup/index.yaml": KEY, "a": b"x"}) == ["backup/index.yaml"]
    no_archive, cut = b"no archive" * 1000, archive({"a": b"x" * 5000})[:3000]
    for content, why in ((archive({}), "holds no file"), (no_archive, "cannot"), (cut, "cannot")):
        with pytest.raises(CouldNotLook, match=why):
            search(iter([content]), {"key": KEY})
