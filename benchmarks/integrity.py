"""How fast a tarball is read to its end, and in how much memory, against the usual programs."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import ratios, timed
from benchmarks.tarballs import VOLUME, huge, make
from fixtures.backups.tarball import inspect
from fixtures.errors import CouldNotLook

LISTING = {"gzip": ("tar", "-tzf"), "zstd": ("tar", "-I", "zstd", "-tf"), "none": ("tar", "-tf")}
GOALS = {"gzip": 6.0}
MEMORY_MIB = 200

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
        for compression, file in (("gzip", made.gzip), ("zstd", made.zstd), ("none", made.none)):
            _against_programs(bench, made.label, compression, file)
        _encrypted(bench, made)
        _memory(bench, made, Path(directory))


def _must(*argv):
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)


def _ours(file, passphrase=None):
    return lambda: timed(lambda: inspect(file, volume=VOLUME, passphrase=passphrase))


def _against_programs(bench, label, compression, file):
    def programs():
        _must(*LISTING[compression], str(file))
        _must("sha256sum", str(file))

    rounds = bench.side_by_side(
        {"ours": _ours(file), "programs": lambda: timed(programs)},
        kind=compression,
        file_bytes=file.stat().st_size,
    )
    bench.figure(
        f"integrity of a {label} {'plain' if compression == 'none' else compression} tarball",
        f"`{' '.join(LISTING[compression])}` and `sha256sum`, one after the other",
        "times faster",
        ratios(rounds, "programs", "ours"),
        at_least=GOALS.get(compression),
        note="both with the file in the page cache; ours also reads the index",
    )


def _encrypted(bench, made):
    rounds = bench.side_by_side(
        {"ours": _ours(made.gpg, made.passphrase), "gpg -d": lambda: timed(lambda: _decrypt(made))},
        kind="gpg of zstd",
        file_bytes=made.gpg.stat().st_size,
    )
    bench.figure(
        f"integrity of a {made.label} zstd tarball encrypted by gpg",
        "`gpg -d` to /dev/null alone",
        "ratio",
        ratios(rounds, "ours", "gpg -d"),
        note="decrypted, hashed, decompressed and read as an archive on 2 cores; "
        "another passphrase tried",
    )


def _decrypt(made):
    with tempfile.TemporaryDirectory() as home:
        argv = ["gpg", "--homedir", home, "--batch", "--no-options", "--no-autostart", "--quiet"]
        argv += ["--pinentry-mode", "loopback", "--passphrase-fd", "0", "--decrypt", str(made.gpg)]
        typed = made.passphrase.reveal().encode() + b"\n"
        subprocess.run(argv, input=typed, stdout=subprocess.DEVNULL, check=True)


def _memory(bench, made, directory):
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


def _peak_mib(file):
    argv = [sys.executable, "-c", CHILD, str(file), VOLUME]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CouldNotLook(f"{file.name} was not inspected: {done.stderr.strip()[-400:]}")
    return int(done.stdout) / 2**20
