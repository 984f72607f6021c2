"""Tarballs as Incus exports them, of any size: half random bytes, half lines of a JSON log."""

from __future__ import annotations

import io
import json
import random
import secrets
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from isal import igzip

from fixtures.backups.tarball import write_tarball
from fixtures.secrets import Secret

VOLUME = "bench01-data"
FILES = 419
"""How many files the volume had of which the first figures were taken (facts/incus.md)."""

INDEX = f"""name: {VOLUME}
backend: btrfs
pool: local
optimized: false
optimized_header: false
type: custom
config:
  volume:
    config: {{}}
    name: {VOLUME}
    type: custom
    content_type: filesystem
""".encode()

LOG_BYTES = 24 << 20
"""Lines that do not repeat: far more than the windows of gzip and zstd."""


@dataclass(frozen=True)
class Made:
    """One content in each kind of file."""

    label: str
    none: Path
    gzip: Path
    zstd: Path
    gpg: Path
    passphrase: Secret


def make(directory, size):
    """Write all kinds, of about `size` bytes before compression, as Incus and gpg make them."""
    none = directory / f"{VOLUME}.tar"
    with none.open("wb") as file:
        _archive(file, size)
    gzip, zstd = none.with_suffix(".tar.gz"), none.with_suffix(".tar.zst")
    for argv, packed in (
        (["gzip", "-n", "-c", str(none)], gzip),
        (["zstd", "-q", "-c", str(none)], zstd),
    ):
        with packed.open("wb") as out:
            subprocess.run(argv, stdout=out, check=True)
    passphrase = Secret(secrets.token_urlsafe(32))
    with zstd.open("rb") as stream:
        chunks = iter(lambda: stream.read(1 << 20), b"")
        sealed = write_tarball(chunks, directory, VOLUME, "zstd", passphrase)
    label = f"{size >> 30} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"
    return Made(label, none, gzip, zstd, sealed.path, passphrase)


def _archive(file, size):
    dice = random.Random(1)  # noqa: S311
    lines = _log(dice, min(LOG_BYTES, size))
    each = size // FILES
    with tarfile.open(fileobj=file, mode="w|", bufsize=1 << 20) as archive:
        _add(archive, "backup/index.yaml", INDEX)
        for number in range(FILES):
            start = dice.randrange(max(1, len(lines) - each))
            data = dice.randbytes(each) if number % 2 else lines[start : start + each]
            _add(archive, f"backup/volume/chunks/{number:05}", data)


def _add(archive, name, data):
    entry = tarfile.TarInfo(name)
    entry.size, entry.uid, entry.gid = len(data), 1_000_000, 1_000_000
    archive.addfile(entry, io.BytesIO(data))


def _log(dice, size):
    lines, length = [], 0
    while length < size:
        line = {
            "ts": 1_764_000_000 + dice.random() * 86_400,
            "level": dice.choice(("debug", "info", "warn")),
            "msg": "request served",
            "path": f"/api/v1/{dice.choice('abcdefgh')}/{dice.randrange(1_000_000)}",
            "trace": f"{dice.getrandbits(64):016x}",
        }
        lines.append(json.dumps(line).encode() + b"\n")
        length += len(lines[-1])
    return b"".join(lines)


def huge(directory, gib):
    """A gzip tarball with one file of `gib` GiB of zeros, one gzip member for each of them."""
    path = directory / f"{VOLUME}-huge.tar.gz"
    index = tarfile.TarInfo("backup/index.yaml")
    index.size = len(INDEX)
    head = index.tobuf() + INDEX.ljust(-(-len(INDEX) // 512) * 512, b"\0")
    entry = tarfile.TarInfo("backup/volume/huge")
    entry.size = gib << 30
    zeros = io.BytesIO()
    with igzip.open(zeros, "wb") as member:
        for _ in range(1 << 10):
            member.write(bytes(1 << 20))
    with path.open("wb") as out:
        out.write(igzip.compress(head + entry.tobuf()))
        for _ in range(gib):
            out.write(zeros.getvalue())
        out.write(igzip.compress(bytes(1024)))
    return path
