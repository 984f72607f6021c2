"""How fast a tarball is read to its end, and in how much memory, against the usual programs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Bench, ratios, timed
from benchmarks.tarballs import VOLUME, Made, huge, make
from fixtures.backups import gpg
from fixtures.backups.tarball import inspect
from fixtures.errors import CouldNotLook
from fixtures.secrets import Secret

LISTING = {"gzip": ("tar", "-tzf"), "zstd": ("tar", "-I", "zstd", "-tf"), "none": ("tar", "-tf")}
MEMORY_MIB = 200

CHILD = """
import sys
from pathlib import Path
from fixtures.backups.tarball import inspect
inspect(Path(sys.argv[1]), volume=sys.argv[2])
with open("/proc/self/status") as status:
    print(next(row.split()[1] for row in status if row.startswith("VmHWM")))
"""
# Not ru_maxrss: a child begins with that of the process that started it.


def run(bench: Bench) -> None:
    """Take the figures; 32 MiB instead of 1 GiB where it has to be quick."""
    size = 32 << 20 if bench.quick else 1 << 30
    with tempfile.TemporaryDirectory(prefix="atlas-drills-bench-") as directory:
        bench.report(f"integrity: making tarballs of {size >> 20} MiB in {directory}")
        made = make(Path(directory), size)
        _gzip(bench, made)
        _zstd(bench, made)
        _none(bench, made)
        _gpg(bench, made)
        _memory(bench, made, Path(directory))


def _by_programs(file: Path, compression: str) -> Callable[[], float]:
    def act() -> float:
        return timed(
            lambda: [
                _must(*LISTING[compression], str(file)),
                _must("sha256sum", str(file)),
            ]
        )

    return act


def _must(*argv: str) -> None:
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)


def _ours(file: Path, passphrase: Secret | None = None) -> Callable[[], float]:
    return lambda: timed(lambda: inspect(file, volume=VOLUME, passphrase=passphrase))


def _gzip(bench: Bench, made: Made) -> None:
    rounds = bench.side_by_side(
        {"ours": _ours(made.gzip), "programs": _by_programs(made.gzip, "gzip")},
        kind="gzip",
        file_bytes=made.gzip.stat().st_size,
    )
    bench.figure(
        f"integrity of a {made.label} gzip tarball",
        "`tar -tzf` and `sha256sum`, one after the other",
        "times faster",
        ratios(rounds, "programs", "ours"),
        at_least=6,
        note="both with the file in the page cache; ours also reads the index",
    )


def _zstd(bench: Bench, made: Made) -> None:
    rounds = bench.side_by_side(
        {
            "ours": _ours(made.zstd),
            "programs": _by_programs(made.zstd, "zstd"),
            "zstd -t": lambda: timed(lambda: _must("zstd", "-tq", str(made.zstd))),
        },
        kind="zstd",
        file_bytes=made.zstd.stat().st_size,
    )
    bench.figure(
        f"integrity of a {made.label} zstd tarball",
        "`tar -I zstd -tf` and `sha256sum`, one after the other",
        "times faster",
        ratios(rounds, "programs", "ours"),
    )
    bench.figure(
        f"integrity of a {made.label} zstd tarball, to its limit",
        "`zstd -t`, which neither hashes nor reads the archive",
        "ratio",
        ratios(rounds, "ours", "zstd -t"),
    )


def _none(bench: Bench, made: Made) -> None:
    def hashing() -> None:
        with made.none.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    rounds = bench.side_by_side(
        {
            "ours": _ours(made.none),
            "programs": _by_programs(made.none, "none"),
            "hashlib": lambda: timed(hashing),
        },
        kind="none",
        file_bytes=made.none.stat().st_size,
    )
    bench.figure(
        f"integrity of a {made.label} plain tarball",
        "`tar -tf` and `sha256sum`, one after the other",
        "times faster",
        ratios(rounds, "programs", "ours"),
        note="`tar -tf` only seeks from header to header; the limit is one SHA-256 of the file",
    )
    bench.figure(
        f"integrity of a {made.label} plain tarball, to its limit",
        "hashlib's SHA-256 of the file alone",
        "ratio",
        ratios(rounds, "ours", "hashlib"),
    )


def _gpg(bench: Bench, made: Made) -> None:
    def checks() -> None:
        gpg.must_be_encrypted(made.gpg)
        gpg.must_refuse_another_passphrase(made.gpg, made.gpg.name)

    rounds = bench.side_by_side(
        {
            "ours": _ours(made.gpg, made.passphrase),
            "gpg -d": lambda: timed(lambda: _decrypt(made)),
            "checks": lambda: timed(checks),
        },
        kind="gpg of zstd",
        file_bytes=made.gpg.stat().st_size,
    )
    passes = [sample["ours"] - sample["checks"] for sample in rounds]
    bench.figure(
        f"integrity of a {made.label} zstd tarball encrypted by gpg",
        "`gpg -d` to /dev/null alone",
        "ratio",
        ratios(rounds, "ours", "gpg -d"),
        note="decrypted, hashed, decompressed and read as an archive on 2 cores; "
        "another passphrase tried",
    )
    bench.figure(
        "the same without the two checks of the encryption",
        "`gpg -d` to /dev/null alone",
        "ratio",
        [seconds / sample["gpg -d"] for seconds, sample in zip(passes, rounds, strict=True)],
    )
    bench.figure(
        "AES256 in the packets, and another passphrase refused",
        "nothing: told apart, the same at every size",
        "s",
        [sample["checks"] for sample in rounds],
    )


def _decrypt(made: Made) -> None:
    with tempfile.TemporaryDirectory() as home:
        argv = ["gpg", "--homedir", home, "--batch", "--no-options", "--no-autostart", "--quiet"]
        argv += ["--pinentry-mode", "loopback", "--passphrase-fd", "0", "--decrypt", str(made.gpg)]
        typed = made.passphrase.reveal().encode() + b"\n"
        subprocess.run(argv, input=typed, stdout=subprocess.DEVNULL, check=True)


def _memory(bench: Bench, made: Made, directory: Path) -> None:
    gib = 1 if bench.quick else 10
    large = huge(directory, gib)
    for label, file in ((made.label, made.gzip), (f"{gib} GiB", large)):
        peaks = [_peak_mib(file) for _ in range(bench.repeat)]
        bench.sample(kind="memory", file=file.name, peaks_mib=peaks)
        bench.figure(
            f"peak memory of a process that inspects a gzip tarball of {label}",
            "nothing",
            "MiB",
            peaks,
            at_most=MEMORY_MIB,
            judged="max",
            note="VmHWM of a whole Python process"
            + ("; zeros, so that it is made quickly" if file == large else ""),
        )


def _peak_mib(file: Path) -> float:
    argv = [sys.executable, "-c", CHILD, str(file), VOLUME]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CouldNotLook(f"{file.name} was not inspected: {done.stderr.strip()[-400:]}")
    return int(done.stdout) / 1024
