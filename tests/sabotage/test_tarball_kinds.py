"""Every kind of tarball that Incus exports restores, and none that is damaged passes."""

import hashlib
import io
import tarfile
from dataclasses import replace

import pytest

from fixtures.backups.tarball import inspect, write_tarball
from fixtures.errors import BackupDamaged, IncusError
from fixtures.recovery.drill import Form

KINDS = (
    *(Form("none"), Form("gzip"), Form("zstd"), Form("xz"), Form("lzma")),
    *(Form("none", optimized=True), Form("zstd", optimized=True)),
)
"""Missing: bzip2, whose program Incus' packages do not bring, and squashfs, which is no stream."""


def contents(volume):
    """Everything on a volume: name -> type, mode, owner, and SHA-256 or target of a link."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(volume.export("none")))) as archive:
        found = {}
        for entry in (each for each in archive if each.name.startswith("backup/volume")):
            data = archive.extractfile(entry).read() if entry.isreg() else entry.linkname.encode()
            held = (entry.type, entry.mode, entry.uid, entry.gid, hashlib.sha256(data).hexdigest())
            found[entry.name] = held
        return found


def must_be_seen_damaged(tarball):
    """Where it is cut, and where a bit is flipped."""
    whole = tarball.path.read_bytes()
    for part in (0.0, 0.3, 0.6, 0.99, 1.0):
        at = min(int(len(whole) * part), len(whole) - 1)
        tarball.path.write_bytes(whole[:at])
        with pytest.raises(BackupDamaged, match=f"{tarball.path.name} is damaged: "):
            inspect(tarball.path, volume=tarball.volume)
        tarball.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with (
            pytest.raises(BackupDamaged, match="is damaged: its sha256 is"),
            tarball.content() as content,
        ):
            content.read()


def test_each_kind_restores_every_byte_and_is_damaged_where_it_is_cut_or_flipped(healthy, tmp_path):
    service = healthy("mosquitto", "tarball")
    service.subject.close()
    service.instance.stop()
    volume, other = service.volume, service.volume.sibling("of-each-kind")
    held = contents(volume)
    assert len(held) > 1
    for number, kind in enumerate(KINDS):
        chunks = volume.export(kind.compression, optimized=kind.optimized)
        (tmp_path / str(number)).mkdir()
        tarball = write_tarball(chunks, tmp_path / str(number), volume.name, kind.compression)
        assert inspect(tarball.path, volume=volume.name).compression == kind.compression
        with tarball.content() as content:
            other.import_from(content, str(kind))
        try:
            assert contents(other) == held, kind
        finally:
            other.delete()
        must_be_seen_damaged(tarball)


def test_another_kind_than_was_ordered_and_a_changed_stream_of_the_pool_are_refused(healthy):
    service = healthy("mosquitto", "tarball")
    backup = service.back_up("tarball", Form("none", optimized=True))
    export = service.volume.export
    service.volume.export = lambda *_, **__: export("gzip")
    for ordered in (Form("zstd"), Form("gzip", optimized=True)):
        with pytest.raises(BackupDamaged, match=f"is of kind gzip, but {ordered} was ordered"):
            service.back_up("tarball", ordered)
        service.wait_until_healthy()
    del service.volume.export
    # Its checksum is that of the changed file: Incus itself sees the change.
    path = backup.tarball.path
    path.write_bytes(path.read_bytes().replace(b"btrfs-stream", b"xxxxx-xxxxxx", 1))
    known = inspect(path, volume=backup.tarball.volume).sha256
    service.destroy()
    with pytest.raises(IncusError, match="unexpected header"):
        service.import_tarball(replace(backup, tarball=replace(backup.tarball, sha256=known)))
