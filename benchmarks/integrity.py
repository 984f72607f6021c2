"""How fast a tarball is read to its end, and in how much memory, against the usual programs.

Tarballs are as Incus exports them: half random bytes, half lines of a JSON log; they are read from
the page cache. Ours also reads the index; it decrypts, hashes, decompresses and reads as an archive
on 2 cores, and tries another passphrase.
"""

from __future__ import annotations

import io
import json
import random
import secrets
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from isal import igzip

from benchmarks.figures import ratios, timed
from fixtures.backups.tarball import inspect, write_tarball
from fixtures.errors import CouldNotLook
from fixtures.secrets import Secret

LISTING = {"gzip": ("tar", "-tzf"), "zstd": ("tar", "-I", "zstd", "-tf"), "none": ("tar", "-tf")}
GOALS = {"gzip": 6.0}
MEMORY_MIB = 200

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

CHILD = """
import sys
from pathlib import Path
from benchmarks.stage import peak_bytes
from fixtures.backups.tarball import inspect
inspect(Path(sys.argv[1]), volume=sys.argv[2])
print(peak_bytes())
"""


def run(bench):
    """Take the figures; 32 MiB instead of 1 GiB where it has to be quick."""
    size = 32 << 20 if bench.quick else 1 << 30
    with tempfile.TemporaryDirectory(prefix="atlas-drills-bench-") as directory:
        bench.report(f"integrity: making tarballs of {size >> 20} MiB in {directory}")
        made = make(Path(directory), size)
        for compression in LISTING:
            _against_programs(bench, made, compression)
        _encrypted(bench, made)
        _memory(bench, made, Path(directory))


def _side_by_side(bench, kind, file, passphrase, name, act):
    acts = {
        "ours": lambda: timed(lambda: inspect(file, volume=VOLUME, passphrase=passphrase)),
        name: lambda: timed(act),
    }
    return bench.side_by_side(acts, kind=kind, file_bytes=file.stat().st_size)


def _against_programs(bench, made, compression):
    file = getattr(made, compression)

    def programs():
        for argv in (LISTING[compression], ("sha256sum",)):
            subprocess.run([*argv, str(file)], stdout=subprocess.DEVNULL, check=True)

    rounds = _side_by_side(bench, compression, file, None, "programs", programs)
    bench.figure(
        f"integrity of a {made.label} {'plain' if compression == 'none' else compression} tarball",
        f"`{' '.join(LISTING[compression])}` and `sha256sum`, one after the other",
        "times faster",
        ratios(rounds, "programs", "ours"),
        at_least=GOALS.get(compression),
    )


def _encrypted(bench, made):
    def decrypt():
        with tempfile.TemporaryDirectory() as home:
            argv = ["gpg", "--homedir", home, "--batch", "--no-options", "--no-autostart"]
            argv += ["--quiet", "--pinentry-mode", "loopback", "--passphrase-fd", "0", "--decrypt"]
            typed = made.passphrase.reveal().encode() + b"\n"
            subprocess.run(
                [*argv, str(made.gpg)], input=typed, stdout=subprocess.DEVNULL, check=True
            )

    rounds = _side_by_side(bench, "gpg of zstd", made.gpg, made.passphrase, "gpg -d", decrypt)
    bench.figure(
        f"integrity of a {made.label} zstd tarball encrypted by gpg",
        "`gpg -d` to /dev/null alone",
        "ratio",
        ratios(rounds, "ours", "gpg -d"),
    )


def _memory(bench, made, directory):
    """VmHWM of a whole Python process; the large file is of zeros, so that it is made quickly."""
    gib = 1 if bench.quick else 10
    for label, file in ((made.label, made.gzip), (f"{gib} GiB", huge(directory, gib))):
        peaks = [_peak_mib(file) for _ in range(bench.repeat)]
        bench.sample(kind="memory", file=file.name, peaks_mib=peaks)
        what = f"peak memory of a process that inspects a gzip tarball of {label}"
        bench.figure(what, "nothing", "MiB", peaks, at_most=MEMORY_MIB, judged="max")


def _peak_mib(file):
    argv = [sys.executable, "-c", CHILD, str(file), VOLUME]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CouldNotLook(f"{file.name} was not inspected: {done.stderr.strip()[-400:]}")
    return int(done.stdout) / 2**20


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
