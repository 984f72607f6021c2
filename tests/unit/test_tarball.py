"""Tarballs: every damage is named, before anything is imported."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import subprocess
import tarfile

import pytest

from fixtures.backups.tarball import inspect, write_tarball
from fixtures.errors import BackupDamaged, CouldNotLook, IncusError

INDEX = "name: {name}\ntype: {kind}\npool: local\nconfig:\n  volume:\n    name: {inner}\n"

PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(row.split()[1]) for row in status if row.startswith("VmHWM"))
"""
# Not ru_maxrss: a child begins with that of the process that started it.


def export(name="grafana01-data", kind="custom", inner=None, *, index=True):
    """The bytes of an export as Incus writes it, uncompressed."""
    out, rng = io.BytesIO(), random.Random(7)
    # Zeros at the end of the last file, so that they alone do not tell where the archive ends.
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


def packed(data, compression):
    if compression == "gzip":
        return gzip.compress(data)
    if compression in ("xz", "lzma"):
        how = lzma.FORMAT_XZ if compression == "xz" else lzma.FORMAT_ALONE
        return lzma.compress(data, format=how)
    if compression == "bzip2":
        return bz2.compress(data)
    if compression == "zstd":
        return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout
    return data


@pytest.fixture
def look(tmp_path):
    def at(data, volume="grafana01-data"):
        file = tmp_path / "backup.tar"
        file.write_bytes(data)
        return inspect(file, volume=volume)

    return at


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "xz", "bzip2", "lzma"])
def test_an_intact_export_is_read_to_its_last_byte(look, compression):
    data = packed(export(), compression)
    seen = look(data)
    assert (seen.compression, seen.file_bytes, seen.entries) == (compression, len(data), 3)
    assert seen.volume == "grafana01-data"
    assert seen.content_bytes == len(export())


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "xz", "bzip2", "lzma"])
def test_a_file_cut_short_anywhere_is_damaged(look, compression):
    data = packed(export(), compression)
    last = range(len(data) - 2_500, len(data), 1 if compression == "none" else 250)
    for cut in [*random.Random(3).sample(range(len(data) - 1), 120), *last, len(data) - 1]:
        with pytest.raises(BackupDamaged):
            look(data[:cut])


@pytest.mark.parametrize("compression", ["gzip", "zstd", "xz", "bzip2", "lzma"])
def test_a_flipped_bit_is_damaged_or_harmless(look, compression):
    data, whole = packed(export(), compression), look(packed(export(), compression))
    named = 0
    for place in random.Random(5).sample(range(len(data)), 120):
        flipped = bytearray(data)
        flipped[place] ^= 1
        try:
            seen = look(bytes(flipped))
        except BackupDamaged:
            named += 1
        else:
            assert seen.content_bytes == whole.content_bytes, f"byte {place}"
            assert seen.sha256 != whole.sha256, f"byte {place} changed nothing"
    assert named >= 100


@pytest.mark.parametrize("compression", ["gzip", "zstd", "xz", "bzip2"])
def test_a_stream_that_is_bad_from_its_first_block_is_told_as_that(look, compression):
    data = bytearray(packed(export(), compression))
    data[10:40] = b"\xff" * 30
    with pytest.raises(BackupDamaged, match=f"its {compression} stream is bad"):
        look(bytes(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (export("loki01-data"), "is a backup of volume loki01-data, not of grafana01-data"),
        (export(inner="loki01-data"), "names both grafana01-data and loki01-data"),
        (export(index=False), "is no Incus export: backup/index.yaml is missing in it"),
        (b"", "is damaged"),
        (b"no tarball at all" * 100, "is damaged: no readable tar archive"),
        (bytes(10240), "is no Incus export"),
    ],
)
def test_what_is_not_this_volumes_export_is_named(look, data, message):
    with pytest.raises(BackupDamaged) as told:
        look(data)
    assert message in told.value.message


def test_an_export_of_another_kind_is_not_called_damaged(look):
    with pytest.raises(CouldNotLook, match="is an export of a bucket, not of a custom volume"):
        look(export(kind="bucket"))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(CouldNotLook, match="No such file"):
        inspect(tmp_path / "gone.tar.gz", volume="x")


def test_a_finished_tarball_has_the_checksum_of_what_was_sent(tmp_path):
    data = packed(export(), "zstd")
    tarball = write_tarball(iter([data[:100], data[100:]]), tmp_path, "grafana01-data", "zstd")
    assert tarball.path.read_bytes() == data
    assert tarball.sha256 == inspect(tarball.path, volume="grafana01-data").sha256
    tarball.must_match_checksum()
    tarball.path.write_bytes(data[:-1])
    with pytest.raises(BackupDamaged, match="it was not imported"):
        tarball.must_match_checksum()


def test_an_interrupted_export_leaves_no_file(tmp_path):
    def cut():
        yield b"half"
        raise IncusError("export volume x: connection to Incus failed")

    with pytest.raises(IncusError):
        write_tarball(cut(), tmp_path, "grafana01-data", "gzip")
    assert list(tmp_path.iterdir()) == []
