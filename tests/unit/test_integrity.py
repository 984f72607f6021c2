"""One pass over a backup: as strict as Python's own readers, in bounded memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import subprocess
import sys
import tarfile

import pytest

from fixtures.backups.archive import _ForwardFile as Forward
from fixtures.backups.archive import read_archive
from fixtures.backups.streams import BUFFER as READ
from fixtures.backups.streams import DAMAGE, DecompressedReader
from fixtures.backups.tarball import inspect, write_tarball
from fixtures.errors import BackupDamaged
from tests.unit.test_tarball import INDEX, PEAK, export, packed

VOLUME = "grafana01-data"
MEMORY_KIB = 60_000
"""What an inspection may take beside the interpreter and its modules."""


@pytest.fixture
def look(tmp_path):
    def at(data):
        file = tmp_path / "backup.tar"
        file.write_bytes(data)
        return inspect(file, volume=VOLUME)

    return at


def members(data, size=20_000):
    """Many gzip members, as pigz and pgzip may write them."""
    return [gzip.compress(data[n : n + size]) for n in range(0, len(data), size)]


def changed(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("what", "damaged"),
    [
        ("flip in the CRC", lambda one, many: changed(one, len(one) - 6)),
        ("flip in the length", lambda one, many: changed(one, len(one) - 2)),
        ("trailer cut by a byte", lambda one, many: one[:-1]),
        ("no trailer", lambda one, many: one[:-8]),
        ("garbage after the end", lambda one, many: one + b"garbage"),
        ("garbage after padding", lambda one, many: one + bytes(512) + b"garbage"),
        ("half a header after the end", lambda one, many: one + b"\x1f\x8b\x08"),
        ("CRC of the second member", lambda one, many: join(many, 1, -6)),
        ("length of the second member", lambda one, many: join(many, 1, -2)),
        ("content of the second member", lambda one, many: join(many, 1, 2000)),
        ("magic of the second member", lambda one, many: join(many, 1, 0)),
        ("last member left out", lambda one, many: b"".join(many[:-1])),
        ("second member left out", lambda one, many: b"".join([many[0], *many[2:]])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_part_of_a_gzip_stream_is_checked(look, what, damaged):
    data = export()
    with pytest.raises(BackupDamaged, match="is damaged"):
        look(damaged(gzip.compress(data), members(data)))


def join(many, number, place):
    many[number] = changed(many[number], place % len(many[number]))
    return b"".join(many)


@pytest.mark.parametrize("padding", [0, 1, 512, 10_240])
def test_members_and_padding_are_no_damage(look, padding):
    seen = look(b"".join(members(export())) + bytes(padding))
    assert (seen.entries, seen.content_bytes) == (3, len(export()))


@pytest.mark.parametrize("tail", [b"garbage", bytes(64), b"\x28\xb5\x2f\xfd"])
def test_what_follows_the_last_frame_of_zstd_is_damage(look, tail):
    frames = packed(export()[:9_000], "zstd") + packed(export()[9_000:], "zstd")
    assert look(frames).content_bytes == len(export())
    with pytest.raises(BackupDamaged, match="its zstd stream is bad"):
        look(frames + tail)


def test_a_header_that_cannot_be_read_is_not_the_end_of_the_archive(look):
    """tarfile stops there without a word; what follows is whole, and would be lost."""
    data = bytearray(export())
    header = data.index(b"backup/volume/x")
    with pytest.raises(BackupDamaged, match=f"what follows byte {header} of the archive"):
        look(bytes(changed(bytes(data), header)))
    data[header : header + 512] = bytes(512)
    with pytest.raises(BackupDamaged, match=f"what follows byte {header} of the archive"):
        look(bytes(data))


def test_a_header_of_gigabytes_is_not_read(look):
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 1 << 32
    with pytest.raises(BackupDamaged, match="a header of"):
        look(entry.tobuf(tarfile.GNU_FORMAT) + export())


def shapes(directory):
    """Archives of every kind that tarfile and GNU tar write: name -> bytes."""
    long = "backup/volume/" + "/".join(["directory-of-a-long-name"] * 12) + "/file"
    made = {}
    for name, how in (("pax", 2), ("gnu", 1), ("ustar", 0)):
        out, rng = io.BytesIO(), random.Random(name)
        with tarfile.open(fileobj=out, mode="w", format=how) as archive:
            index = INDEX.format(name=VOLUME, kind="custom", inner=VOLUME).encode()
            for path, data in (
                ("backup/index.yaml", index),
                (long if name != "ustar" else "backup/volume/short", rng.randbytes(700_001)),
                ("backup/volume/block", bytes(512)),
                ("backup/volume/empty", b""),
            ):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mtime = len(data), 1_700_000_000.5 if how == 2 else 1
                entry.pax_headers = {"SCHILY.xattr.user.x": "\u00e9" * 3000} if how == 2 else {}
                archive.addfile(entry, io.BytesIO(data))
            for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
                entry = tarfile.TarInfo(f"backup/volume/{kind.decode()}")
                entry.type, entry.linkname = kind, "backup/volume/block"
                archive.addfile(entry)
        made[name] = out.getvalue()
    holes = directory / "backup" / "volume"
    holes.mkdir(parents=True)
    (directory / "backup/index.yaml").write_text(
        INDEX.format(name=VOLUME, kind="custom", inner=VOLUME)
    )
    for number in range(3):
        with (holes / f"sparse{number}").open("wb") as file:
            for place in range(0, 40 << 20, 1 << 20):
                file.seek(place)
                file.write(b"data")
            file.truncate(50 << 20)
    for how in ("gnu", "pax"):
        argv = ["tar", "-C", str(directory), "-c", "--sparse", f"--format={how}", "backup"]
        made[f"sparse {how}"] = subprocess.run(argv, capture_output=True, check=True).stdout
    return made


def facts(entry):
    return (entry.name, entry.size, entry.type, entry.offset_data, entry.mtime, entry.pax_headers)


def by_pythons_own(data):
    """(entries as Python reads them, length of the content), by gzip and tarfile alone."""
    content = gzip.GzipFile(fileobj=io.BytesIO(data)).read()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return [facts(entry) for entry in archive], len(content)


def by_ours(data):
    seen = []
    content = DecompressedReader(io.BytesIO(data), "x")
    walked = read_archive(content, "x", lambda _, entry: seen.append(facts(entry)))
    content.read_to_end()
    return seen, walked.content_bytes


def test_it_sees_what_pythons_own_gzip_and_tarfile_see(tmp_path):
    for name, data in shapes(tmp_path).items():
        stream = gzip.compress(data, 1)
        entries, length = by_pythons_own(stream)
        assert by_ours(stream) == (entries, length), name
        file = tmp_path / "backup.tar.gz"
        file.write_bytes(stream)
        whole = inspect(file, volume=VOLUME)
        assert whole.sha256 == hashlib.sha256(stream).hexdigest(), name
        assert (whole.entries, whole.content_bytes) == (len(entries), length), name
        for cut in (len(data) - 20_000, len(data) - 1):
            with pytest.raises(BackupDamaged):
                file.write_bytes(gzip.compress(data[:cut], 1))
                inspect(file, volume=VOLUME)


def content_of(read):
    try:
        return read()
    except (*DAMAGE, BackupDamaged):
        return None


def test_it_takes_and_refuses_the_gzip_that_python_takes_and_refuses():
    dice, whole, refused = random.Random(9), b"".join(members(export()[:9_000], 4_000)), 0
    for number in range(600):
        place = dice.randrange(len(whole))
        stream = (changed(whole, place), whole[:place], whole + bytes(place % 3) + b"x")[number % 3]
        pythons = content_of(lambda given=stream: gzip.GzipFile(fileobj=io.BytesIO(given)).read())
        it = DecompressedReader(io.BytesIO(stream), "x")
        ours = content_of(lambda stream=it: b"".join(iter(lambda: stream.read(1000), b"")))
        if stream[:2] == whole[:2]:
            assert ours == pythons, f"{number} at byte {place}"
            refused += ours is None
    assert refused > 500


def test_the_stream_never_goes_back():
    stream = Forward(io.BytesIO(bytes(1000)))
    assert stream.seek(700) == 700
    with pytest.raises(tarfile.StreamError, match="forward only"):
        stream.seek(699)
    assert stream.seek(5000) == 1000


def test_the_last_bytes_of_another_file_are_withheld(tmp_path):
    rng = random.Random(1)
    for size in (1, 100, READ, READ + 1, 3 * READ, 3 * READ + 5):
        data = rng.randbytes(size)
        tarball = write_tarball(iter([data]), tmp_path, VOLUME, "none")
        with tarball.content() as content:
            assert b"".join(iter(lambda: content.read(70_000), b"")) == data
        for damaged in (changed(data, 0), changed(data, size - 1), data[:-1], data + b"x"):
            tarball.path.write_bytes(damaged)
            given = io.BytesIO()
            with (
                pytest.raises(BackupDamaged, match="its sha256 is .* it was not imported"),
                tarball.content() as content,
            ):
                while piece := content.read(70_000):
                    given.write(piece)
                pytest.fail("an importer would have taken the upload for complete")
            assert len(given.getvalue()) < len(damaged) or not damaged, f"{size} bytes"


def huge(file, kind):
    """A tarball that is large unpacked: one file of 2 GiB, or 60 000 small ones."""
    index = INDEX.format(name=VOLUME, kind="custom", inner=VOLUME).encode()
    with gzip.open(file, "wb", 1) as out, tarfile.open(fileobj=out, mode="w|") as archive:
        entry = tarfile.TarInfo("backup/index.yaml")
        entry.size = len(index)
        archive.addfile(entry, io.BytesIO(index))
        if kind == "large":
            entry = tarfile.TarInfo("backup/volume/large")
            entry.size = 2 << 30
            with open("/dev/zero", "rb") as zeros:
                archive.addfile(entry, zeros)
        for number in range(60_000 if kind == "many" else 0):
            entry = tarfile.TarInfo(f"backup/volume/{number:064}/a-file-of-a-long-name-{number}")
            entry.pax_headers = {"SCHILY.xattr.user.number": str(number)}
            archive.addfile(entry)


@pytest.mark.parametrize("kind", ["large", "many"])
def test_memory_is_bounded_whatever_the_size(tmp_path, kind):
    file = tmp_path / "backup.tar.gz"
    huge(file, kind)
    code = (
        "import sys; from pathlib import Path;"
        "from fixtures.backups.tarball import inspect;"
        "before = peak();"
        "seen = inspect(Path(sys.argv[1]), volume=sys.argv[2]);"
        "print(peak() - before, seen.entries)"
    )
    argv = [sys.executable, "-c", PEAK + code, str(file), VOLUME]
    done = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    grown, entries = map(int, done.split())
    assert entries == {"large": 2, "many": 60_001}[kind]
    assert grown < MEMORY_KIB, f"{grown} KiB"
