"""How fast a tarball is read to its end, and in how much memory, against the usual programs.

All with the file in the page cache. Ours also reads the index; it decrypts, hashes, decompresses
and reads as an archive on 2 cores, and tries another passphrase.
"""

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
