"""Every kind of tarball that Incus exports restores, and none that is damaged passes."""

from dataclasses import replace

import pytest

from fixtures.backups.tarball import inspect
from fixtures.errors import BackupDamaged, IncusError
from fixtures.recovery.backup import Form

KINDS = (
    Form("none"),
    Form("gzip"),
    Form("zstd"),
    Form("xz"),
    Form("lzma"),
    Form("none", optimized=True),
    Form("zstd", optimized=True),
)
"""Missing: bzip2, whose program Incus' packages do not bring, and squashfs, which is no stream."""

CHECKED = ("gzip", "zstd", "xz")
"""Compressions that have a checksum of their own; a bare tar and lzma have none."""


@pytest.fixture
def deployed(make_service):
    _, service = make_service("mosquitto", "tarball")
    service.deploy()
    return service


def test_each_kind_restores(deployed):
    # All of them first: that queued messages came back is seen by receiving them.
    for backup in [deployed.back_up("tarball", kind) for kind in KINDS]:
        deployed.destroy()
        deployed.import_tarball(backup)
        deployed.start()
        deployed.wait_until_healthy()
        deployed.must_hold(backup)


def test_each_kind_that_is_cut_or_flipped_is_damaged(deployed, tmp_path):
    for kind in KINDS:
        tarball = deployed.back_up("tarball", kind).tarball
        whole = tarball.path.read_bytes()
        for part in (0.0, 0.3, 0.6, 0.99, 1.0):
            at = min(int(len(whole) * part), len(whole) - 1)
            other = tmp_path / tarball.path.name
            other.write_bytes(whole[:at])
            with pytest.raises(BackupDamaged, match=f"{tarball.path.name} is damaged: "):
                inspect(other, volume=tarball.volume)
            flipped = bytearray(whole)
            flipped[at] ^= 1
            tarball.path.write_bytes(flipped)
            with pytest.raises(BackupDamaged, match="is damaged: its sha256 is"):
                tarball.must_match_checksum()
            if kind.compression in CHECKED and at:
                other.write_bytes(flipped)
                # The flip is seen in the archive's headers, or at the latest by the stream's sum.
                with pytest.raises(BackupDamaged, match=f"{tarball.path.name} is damaged: "):
                    inspect(other, volume=tarball.volume)


def test_another_kind_than_was_ordered_is_refused(deployed):
    export = deployed.volume.export
    deployed.volume.export = lambda *_, **__: export("gzip")
    for ordered in (Form("zstd"), Form("gzip", optimized=True)):
        with pytest.raises(BackupDamaged, match=f"is of kind gzip, but {ordered} was ordered"):
            deployed.back_up("tarball", ordered)
        deployed.wait_until_healthy()


def test_a_pools_own_stream_that_is_changed_under_its_checksum_is_refused_by_incus(deployed):
    backup = deployed.back_up("tarball", Form("none", optimized=True))
    path = backup.tarball.path
    path.write_bytes(path.read_bytes().replace(b"btrfs-stream", b"xxxxx-xxxxxx", 1))
    known = inspect(path, volume=backup.tarball.volume).sha256
    deployed.destroy()
    with pytest.raises(IncusError, match="unexpected header"):
        deployed.import_tarball(replace(backup, tarball=replace(backup.tarball, sha256=known)))
