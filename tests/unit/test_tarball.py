"""Tarballs: every damage is named before anything is imported, in one pass and bounded memory."""

import bz2
import gzip
import hashlib
import io
import lzma
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from fixtures.backups.streams import BUFFER, DecompressedReader, read_archive
from fixtures.backups.tarball import inspect, write_tarball
from fixtures.errors import BackupDamaged, CouldNotLook, DrillError, IncusError

CASES = Path(__file__).parents[1] / "cases" / "tarballs"
VOLUME = "grafana01-data"
INDEX = "name: {name}\ntype: {kind}\npool: local\nconfig:\n  volume:\n    name: {inner}\n"


def export(name=VOLUME, kind="custom", inner=None, *, index=True):
    """Return the bytes of an export as Incus writes it, uncompressed."""
    out, rng = io.BytesIO(), random.Random(7)
    # Zeros at the end of the last file, so that they alone do not say where the archive ends.
    zeros = b"y" * 7_000 + bytes(2_000)
    files = {"backup/volume/grafana.db": rng.randbytes(50_000), "backup/volume/x": zeros}
    if index:
        text = INDEX.format(name=name, kind=kind, inner=inner or name).encode()
        files = {"backup/index.yaml": text, **files}
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        end = archive.offset
    return out.getvalue()[:end] + bytes(1024)


PACK = {
    "none": bytes,
    "gzip": gzip.compress,
    "zstd": lambda data: (
        subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout
    ),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}


def packed(data, compression):
    return PACK[compression](data)


@pytest.fixture
def inspected(tmp_path):
    def at(data, volume=VOLUME):
        file = tmp_path / "backup.tar"
        file.write_bytes(data)
        return inspect(file, volume=volume)

    return at


@pytest.mark.parametrize("compression", PACK)
def test_a_file_is_read_to_its_last_byte_and_damaged_where_it_is_cut(inspected, compression):
    data = packed(export(), compression)
    seen = inspected(data)
    assert (seen.compression, seen.file_bytes, seen.entries) == (compression, len(data), 3)
    assert (seen.volume, seen.content_bytes) == (VOLUME, len(export()))
    assert seen.sha256 == hashlib.sha256(data).hexdigest()
    last = range(len(data) - 2_500, len(data), 7 if compression == "none" else 250)
    for cut in [*random.Random(3).sample(range(len(data) - 1), 60), *last, len(data) - 1]:
        with pytest.raises(BackupDamaged):
            inspected(data[:cut])


@pytest.mark.parametrize("compression", sorted(PACK.keys() - {"none"}))
def test_a_flipped_bit_is_damage_or_harmless(inspected, compression):
    data = packed(export(), compression)
    whole, named = inspected(data), 0
    for place in random.Random(5).sample(range(len(data)), 100):
        try:
            seen = inspected(changed(data, place))
        except BackupDamaged:
            named += 1
        else:
            assert seen.content_bytes == whole.content_bytes, f"byte {place}"
            assert seen.sha256 != whole.sha256, f"byte {place} changed nothing"
    assert named >= 80
    if compression != "lzma":
        with pytest.raises(BackupDamaged, match=f"its {compression} stream is bad"):
            inspected(data[:10] + b"\xff" * 30 + data[40:])


def changed(data, place):
    place %= len(data)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def members(data, size=20_000):
    """Return many gzip members, as pigz and pgzip may write them."""
    return [gzip.compress(data[n : n + size]) for n in range(0, len(data), size)]


MANY = members(export())


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(export()) + bytes(512) + b"garbage",
        b"".join([MANY[0], changed(MANY[1], -2), *MANY[2:]]),
        b"".join(MANY[:-1]),
        b"".join([MANY[0], *MANY[2:]]),
    ],
    ids=["garbage after padding", "length of a member", "no last member", "no second member"],
)
def test_every_member_of_a_gzip_stream_is_checked(inspected, data):
    with pytest.raises(BackupDamaged, match="is damaged"):
        inspected(data)


def test_members_padding_and_frames_are_no_damage(inspected):
    for padding in (0, 1, 512, 10_240):
        seen = inspected(b"".join(MANY) + bytes(padding))
        assert (seen.entries, seen.content_bytes) == (3, len(export()))
        # Incus 7.0.2 imports these, too.
        assert inspected(export() + bytes(padding)).content_bytes == len(export()) + padding
    frames = packed(export()[:9_000], "zstd") + packed(export()[9_000:], "zstd")
    assert inspected(frames).content_bytes == len(export())
    for tail in (b"garbage", bytes(64), b"\x28\xb5\x2f\xfd"):
        with pytest.raises(BackupDamaged, match="its zstd stream is bad"):
            inspected(frames + tail)


def test_gzip_is_taken_and_refused_as_python_takes_and_refuses_it():
    def content(read):
        try:
            return read()
        except (EOFError, OSError, ValueError, BackupDamaged) + (gzip.zlib.error,):
            return None

    dice, whole, refused = random.Random(9), b"".join(members(export()[:9_000], 4_000)), 0
    for number in range(400):
        place = dice.randrange(2, len(whole))
        stream = (changed(whole, place), whole[:place], whole + bytes(place % 3) + b"x")[number % 3]
        pythons = content(lambda s=stream: gzip.GzipFile(fileobj=io.BytesIO(s)).read())
        ours = content(lambda s=stream: DecompressedReader(io.BytesIO(s), "x").read())
        assert ours == pythons, f"{number} at byte {place}"
        refused += ours is None
    assert refused > 300


def test_a_header_that_cannot_be_read_is_not_the_end_of_the_archive(inspected):
    """tarfile stops there without a word; what follows is whole, and would be lost."""
    data = export()
    header = data.index(b"backup/volume/x")
    zeros = data[:header] + bytes(512) + data[header + 512 :]
    for damaged in (changed(data, header), zeros):
        with pytest.raises(BackupDamaged, match=f"what follows byte {header} of the archive"):
            inspected(damaged)
    large = {"size": 1 << 32}
    for added, what in (
        (entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, **large), "a header of"),
        (entry("backup/index.yaml", **large), "an index of"),
    ):
        with pytest.raises(BackupDamaged, match=what):
            inspected(added.tobuf(tarfile.GNU_FORMAT) + data)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (export("loki01-data"), BackupDamaged, f"a backup of volume loki01-data, not of {VOLUME}"),
        (export(inner="loki01-data"), BackupDamaged, f"names both {VOLUME} and loki01-data"),
        (export(index=False), BackupDamaged, "is no Incus export: backup/index.yaml is missing"),
        (b"", BackupDamaged, "is damaged"),
        (b"no tarball at all" * 100, BackupDamaged, "is damaged: no readable tar archive"),
        (bytes(10240), BackupDamaged, "is no Incus export"),
        (export(kind="bucket"), CouldNotLook, "is an export of a bucket, not of a volume"),
        ("cut.tar.gz", BackupDamaged, "is damaged"),
        ("instance.tar.gz", CouldNotLook, "is an export of an instance, not of a custom volume"),
        ("lxd6-metadata-v2.tar.gz", CouldNotLook, "was made by LXD (index version 2)"),
        ("lz4.tar.lz4", CouldNotLook, "is lz4, which is not read here"),
        ("dot-slash.tar.gz", CouldNotLook, "was repacked: its names begin with ./"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_export_of_this_volume_is_named(inspected, data, kind, message):
    with pytest.raises(DrillError) as caught:
        inspected((CASES / data).read_bytes() if isinstance(data, str) else data)
    assert message in caught.value.message
    assert type(caught.value) is kind


def test_a_file_that_is_gone_was_not_looked_at(tmp_path):
    with pytest.raises(CouldNotLook, match="No such file"):
        inspect(tmp_path / "gone.tar.gz", volume="x")


def with_entries(tmp_path, *entries):
    """Inspect the good export with entries added."""
    target = tmp_path / "grafana01-data.tar"
    with tarfile.open(CASES / "two-members.tar.gz") as good, tarfile.open(target, "w") as copy:
        for found in good:
            copy.addfile(found, good.extractfile(found) if found.isreg() else None)
        for added in entries:
            copy.addfile(added, io.BytesIO(bytes(added.size)))
    return inspect(target, volume=VOLUME)


def entry(name, kind=tarfile.REGTYPE, **fields):
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


V = "backup/volume"
REFUSED = {
    "block device": [entry(f"{V}/blk", tarfile.BLKTYPE, devmajor=7, devminor=1)],
    "character device": [entry(f"{V}/mem", tarfile.CHRTYPE, devmajor=1, devminor=1)],
    "device in a snapshot": [entry("backup/volume-snapshots/s0/blk", tarfile.BLKTYPE, devmajor=8)],
    "another tree": [entry("backup/container/x")],
    "outside of the tree": [entry("etc/passwd")],
    "absolute": [entry("/etc/passwd")],
    "upwards": [entry(f"{V}/../../etc/passwd")],
    "almost the tree": [entry(f"{V}s/x")],
    "hard link out": [entry(f"{V}/h", tarfile.LNKTYPE, linkname="/etc/shadow")],
    "hard link upwards": [entry(f"{V}/h", tarfile.LNKTYPE, linkname=f"{V}/../../x")],
    "behind a link": [entry(f"{V}/l", tarfile.SYMTYPE, linkname="/etc"), entry(f"{V}/l/passwd")],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_reaches_out_of_a_volume_is_refused(tmp_path, kind):
    with pytest.raises(BackupDamaged, match="is not imported: "):
        with_entries(tmp_path, *REFUSED[kind])


def test_what_is_only_worth_knowing_is_a_remark(tmp_path):
    setuid, links = with_entries(
        tmp_path,
        entry(f"{V}/run", mode=0o4755),
        entry(f"{V}/d/out", tarfile.SYMTYPE, linkname="../../x"),
        entry(f"{V}/d/in", tarfile.SYMTYPE, linkname="../x"),
        entry(f"{V}/hosts", tarfile.SYMTYPE, linkname="/etc/hosts"),
        entry(f"{V}/fifo", tarfile.FIFOTYPE),
        entry(f"{V}/gone", tarfile.CHRTYPE),
        entry(f"{V}/again", tarfile.LNKTYPE, linkname=f"{V}/grafana.db"),
        *(entry(f"{V}/s{number}", mode=0o2755) for number in range(9)),
    ).remarks
    assert "has 10 setuid or setgid files: run (4755), s0 (2755), s1 (2755), ..." in setuid
    assert "has 2 links out of the volume: d/out -> ../../x, hosts -> /etc/hosts" in links


def test_what_incus_writes_is_read(tmp_path):
    snapshots = "backup/volume-snapshots"
    names = ["backup", f"{V}.img", f"{V}.bin", "backup/optimized_header.yaml", snapshots]
    names += [f"{snapshots}/snap0{end}" for end in ("", ".bin", ".img", "/file")]
    names += [f"{V}/a..b", f"{V}/ lost and\nfound"]
    label = entry("of a tape", b"V")
    assert with_entries(tmp_path, *map(entry, names), label).volume == VOLUME


def archives():
    """Return archives of every kind that tarfile writes: name -> bytes."""
    long = "backup/volume/" + "/".join(["directory-of-a-long-name"] * 12) + "/file"
    index = INDEX.format(name=VOLUME, kind="custom", inner=VOLUME).encode()
    made = {}
    for name, how in (("pax", 2), ("gnu", 1), ("ustar", 0)):
        out, rng = io.BytesIO(), random.Random(name)
        with tarfile.open(fileobj=out, mode="w", format=how) as archive:
            for path, data in (
                ("backup/index.yaml", index),
                (long if name != "ustar" else "backup/volume/short", rng.randbytes(700_001)),
                ("backup/volume/block", bytes(512)),
                ("backup/volume/empty", b""),
            ):
                pax = {"SCHILY.xattr.user.x": "\u00e9" * 3000} if how == 2 else {}
                mtime = 1_700_000_000.5 if how == 2 else 1
                added = entry(path, size=len(data), mtime=mtime, pax_headers=pax)
                archive.addfile(added, io.BytesIO(data))
            for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
                archive.addfile(entry(f"{V}/{kind.decode()}", kind, linkname=f"{V}/block"))
        made[name] = out.getvalue()
    return made


def facts(entry):
    return (entry.name, entry.size, entry.type, entry.offset_data, entry.mtime, entry.pax_headers)


def test_every_archive_is_read_as_tarfile_reads_it(inspected):
    for name, data in archives().items():
        seen = []
        read_archive(io.BytesIO(data), "x", lambda _, entry, seen=seen: seen.append(facts(entry)))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            assert seen == [facts(entry) for entry in archive], name
        whole = inspected(gzip.compress(data, 1))
        assert (whole.entries, whole.content_bytes) == (len(seen), len(data)), name


def test_an_interrupted_export_leaves_no_file(tmp_path):
    def cut():
        yield b"half"
        raise IncusError("export volume x: connection to Incus failed")

    with pytest.raises(IncusError):
        write_tarball(cut(), tmp_path, VOLUME, "gzip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 100, BUFFER, BUFFER + 1, 3 * BUFFER, 3 * BUFFER + 5])
def test_the_last_bytes_of_another_file_are_withheld(tmp_path, size):
    data = random.Random(1).randbytes(size)
    tarball = write_tarball(iter([data[:70], data[70:]]), tmp_path, VOLUME, "none")
    assert tarball.sha256 == hashlib.sha256(data).hexdigest()
    with tarball.content() as content:
        assert b"".join(iter(lambda: content.read(70_000), b"")) == data
    for damaged in (changed(data, 0), changed(data, -1), data[:-1], data + b"x"):
        tarball.path.write_bytes(damaged)
        given = b""
        with (
            pytest.raises(BackupDamaged, match="its sha256 is .* it was not imported"),
            tarball.content() as content,
        ):
            while piece := content.read(70_000):
                given += piece
            pytest.fail("an importer would have taken the upload for complete")
        assert len(given) < len(damaged) or not damaged


# Not ru_maxrss: a child begins with that of the process that started it.
PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(row.split()[1]) for row in status if row.startswith("VmHWM"))
"""
MEASURE = f"""{PEAK}
import sys; from pathlib import Path
from fixtures.backups.tarball import inspect
before = peak()
seen = inspect(Path(sys.argv[1]), volume=sys.argv[2])
print(peak() - before, seen.entries)
"""


@pytest.mark.parametrize(
    ("kind", "count", "most_kib"), [("large", 2, 60_000), ("many", 15_001, 20_000)]
)
def test_memory_is_bounded_whatever_the_size(tmp_path, kind, count, most_kib):
    """One file of 256 MiB, or 15,000 small ones, which take 26 MiB where all entries are kept."""
    file = tmp_path / "backup.tar.gz"
    index = INDEX.format(name=VOLUME, kind="custom", inner=VOLUME).encode()
    with gzip.open(file, "wb", 1) as out, tarfile.open(fileobj=out, mode="w|") as archive:
        archive.addfile(entry("backup/index.yaml", size=len(index)), io.BytesIO(index))
        if kind == "large":
            with open("/dev/zero", "rb") as zeros:
                archive.addfile(entry(f"{V}/large", size=256 << 20), zeros)
        for number in range(count if kind == "many" else 1, 1, -1):
            pax = {"SCHILY.xattr.user.number": str(number)}
            name = f"{V}/{number:064}/a-file-of-a-long-name-{number}"
            archive.addfile(entry(name, pax_headers=pax))
    argv = [sys.executable, "-c", MEASURE, str(file), VOLUME]
    done = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    grown, entries = map(int, done.split())
    assert entries == count
    assert grown < most_kib, f"{grown} KiB"
