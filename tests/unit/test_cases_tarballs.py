"""Tarballs of kinds that operators have: read as what they are, and never imported as another."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from fixtures.backups.tarball import Inspection, inspect
from fixtures.errors import BackupDamaged, CouldNotLook, DrillError

CASES = Path(__file__).parents[1] / "cases" / "tarballs"
VOLUME = "grafana01-data"


@pytest.mark.parametrize(
    "name, entries",
    [
        ("good.tar.zst", 4),
        ("two-members.tar.gz", 4),
        ("padded.tar.gz", 4),
        ("skippable-first.tar.zst", 4),
        ("empty-volume.tar.gz", 2),
    ],
)
def test_a_volumes_export_is_read(name: str, entries: int) -> None:
    seen = inspect(CASES / name, volume=VOLUME)
    assert (seen.volume, seen.entries, seen.told) == (VOLUME, entries, ())


@pytest.mark.parametrize(
    "name, kind, told",
    [
        ("cut.tar.gz", BackupDamaged, "is damaged"),
        (
            "instance.tar.gz",
            CouldNotLook,
            "is an export of an instance, not of a custom volume: grafana01",
        ),
        ("lxd6-metadata-v2.tar.gz", CouldNotLook, "was made by LXD 6"),
        ("lz4.tar.lz4", CouldNotLook, "is lz4, which is not read here"),
        ("dot-slash.tar.gz", CouldNotLook, "was repacked: its names begin with ./"),
    ],
)
def test_what_is_none_is_told_as_what_it_is(name: str, kind: type[DrillError], told: str) -> None:
    with pytest.raises(DrillError, match=told) as caught:
        inspect(CASES / name, volume=VOLUME)
    assert type(caught.value) is kind


def packed(tmp_path: Path, **more: tarfile.TarInfo) -> Path:
    """The good export with entries added: name -> what is special of it."""
    target = tmp_path / "grafana01-data.tar"
    with tarfile.open(CASES / "two-members.tar.gz") as good, tarfile.open(target, "w") as copy:
        for entry in good:
            copy.addfile(entry, good.extractfile(entry) if entry.isreg() else None)
        for name, entry in more.items():
            entry.name = entry.name or name
            copy.addfile(entry, io.BytesIO(bytes(entry.size)))
    return target


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def looked_at(tmp_path: Path, *entries: tarfile.TarInfo) -> Inspection:
    return inspect(packed(tmp_path, **{str(at): e for at, e in enumerate(entries)}), volume=VOLUME)


V = "backup/volume"
REFUSED = {
    "block device": [entry(f"{V}/blk", tarfile.BLKTYPE, devmajor=7, devminor=1)],
    "character device": [entry(f"{V}/mem", tarfile.CHRTYPE, devmajor=1, devminor=1)],
    "device in a snapshot": [entry("backup/volume-snapshots/s0/blk", tarfile.BLKTYPE, devmajor=8)],
    "another tree": [entry("backup/container/x")],
    "beside the tree": [entry("etc/passwd")],
    "absolute": [entry("/etc/passwd")],
    "upwards": [entry(f"{V}/../../etc/passwd")],
    "almost the tree": [entry(f"{V}s/x")],
    "hard link out": [entry(f"{V}/h", tarfile.LNKTYPE, linkname="/etc/shadow")],
    "hard link upwards": [entry(f"{V}/h", tarfile.LNKTYPE, linkname=f"{V}/../../x")],
    "behind a link": [entry(f"{V}/l", tarfile.SYMTYPE, linkname="/etc"), entry(f"{V}/l/passwd")],
    "deep behind a link": [
        entry(f"{V}/d/l", tarfile.SYMTYPE, linkname="../.."),
        entry(f"{V}/d/l/a/b"),
    ],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_reaches_out_of_a_volume_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BackupDamaged, match="is not imported: "):
        looked_at(tmp_path, *REFUSED[kind])


def test_what_is_only_worth_knowing_is_told(tmp_path: Path) -> None:
    seen = looked_at(
        tmp_path,
        entry(f"{V}/run", mode=0o4755),
        entry(f"{V}/d/out", tarfile.SYMTYPE, linkname="../../x"),
        entry(f"{V}/d/in", tarfile.SYMTYPE, linkname="../x"),
        entry(f"{V}/hosts", tarfile.SYMTYPE, linkname="/etc/hosts"),
        entry(f"{V}/fifo", tarfile.FIFOTYPE),
        entry(f"{V}/gone", tarfile.CHRTYPE),
        entry(f"{V}/again", tarfile.LNKTYPE, linkname=f"{V}/grafana.db"),
        *(entry(f"{V}/s{number}", mode=0o2755) for number in range(9)),
    )
    setuid, links = seen.told
    assert "has 10 setuid or setgid files: run (4755), s0 (2755), s1 (2755), ..." in setuid
    assert "has 2 links out of the volume: d/out -> ../../x, hosts -> /etc/hosts" in links


@pytest.mark.parametrize(
    "name",
    [
        "backup",
        "backup/volume.img",
        "backup/volume.bin",
        "backup/optimized_header.yaml",
        "backup/volume-snapshots",
        "backup/volume-snapshots/snap0",
        "backup/volume-snapshots/snap0.bin",
        "backup/volume-snapshots/snap0.img",
        "backup/volume-snapshots/snap0/file",
        "backup/volume/a..b",
        "backup/volume/ lost and\nfound",
    ],
)
def test_what_incus_writes_is_read(tmp_path: Path, name: str) -> None:
    assert looked_at(tmp_path, entry(name)).volume == VOLUME
