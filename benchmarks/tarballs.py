"""Tarballs as Incus exports them, of any size: half random bytes, half lines of a JSON log."""

from __future__ import annotations

import io
import json
import random
import secrets
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

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


class Made(NamedTuple):
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
    _archive(none, size)
    gzip, zstd = none.with_suffix(".tar.gz"), none.with_suffix(".tar.zst")
    for program, packed in ((("gzip", "-n"), gzip), (("zstd", "-q"), zstd)):
        with packed.open("wb") as out:
            subprocess.run([*program, "-c", str(none)], stdout=out, check=True)
    passphrase = Secret(secrets.token_urlsafe(32))
    with zstd.open("rb") as stream:
        chunks = iter(lambda: stream.read(1 << 20), b"")
        sealed = write_tarball(chunks, directory, VOLUME, "zstd", passphrase)
    label = f"{size >> 30} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"
    return Made(label, none, gzip, zstd, sealed.path, passphrase)


def _archive(path, size):
    dice = random.Random(1)  # noqa: S311
    lines = b"".join(_log(dice, min(LOG_BYTES, size)))
    each = size // FILES
    with tarfile.open(path, "w") as archive:
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
    while size > 0:
        line = {
            "ts": 1_764_000_000 + dice.random() * 86_400,
            "level": dice.choice(("debug", "info", "warn")),
            "msg": "request served",
            "path": f"/api/v1/{dice.choice('abcdefgh')}/{dice.randrange(1_000_000)}",
            "trace": f"{dice.getrandbits(64):016x}",
        }
        yield (text := json.dumps(line).encode() + b"\n")
        size -= len(text)


def huge(directory, gib):
    """A gzip tarball with one file of `gib` GiB of zeros, one gzip member for each of them."""
    path = directory / f"{VOLUME}-huge.tar.gz"
    index, entry = tarfile.TarInfo("backup/index.yaml"), tarfile.TarInfo("backup/volume/huge")
    index.size, entry.size = len(INDEX), gib << 30
    padded = INDEX.ljust(-(-len(INDEX) // 512) * 512, b"\0")
    zeros = io.BytesIO()
    with igzip.open(zeros, "wb") as member:
        for _ in range(1 << 10):
            member.write(bytes(1 << 20))
    with path.open("wb") as out:
        out.write(igzip.compress(index.tobuf() + padded + entry.tobuf()))
        for _ in range(gib):
            out.write(zeros.getvalue())
        out.write(igzip.compress(bytes(1024)))
    return path
