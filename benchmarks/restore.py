"""Restore throughput by kind of tarball and size, the projection to full size, and memory.

`python -m benchmarks.restore --bytes=N --form=KIND` measures once, in a process of its own, whose
memory is then known: Prometheus with N bytes of files next to its data is backed up, lost and
recovered by the drill; the `incus` client imports the same file. Every second round has the other
order. It prints one line of JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time

from benchmarks.figures import ROOT, timed
from benchmarks.stage import BODIES, fill, peak_bytes, stage
from fixtures.recovery.drill import Form, projected_rto

SERVICE = "prometheus"
GIB = 2**30
KINDS = ("none", "gzip", "zstd", "xz", "lzma", "optimized-none", "optimized-zstd")
SMALL, MEDIUM, FULL = GIB // 10, GIB, 10 * GIB
MEDIUM_KINDS = ("none", "gzip", "zstd", "optimized-none")
FULL_KIND = "zstd"
"""The fleet file's own; Incus' gzip would take 5 minutes for 10 GiB."""

MEMORY_MIB = 200


def run(bench):
    """Measure every kind at 0.1 GiB, the usual ones at 1 GiB, the fleet file's at 10 GiB."""
    sizes = {GIB // 20: KINDS} if bench.quick else {SMALL: KINDS, MEDIUM: MEDIUM_KINDS}
    seen = {}
    for size, kinds in sizes.items():
        for kind in kinds:
            rounds = range(1 if bench.quick else bench.repeat)
            orders = [["--drill-last"] if number % 2 else [] for number in rounds]
            seen[kind, size] = [_measure(bench, kind, size, *order) for order in orders]
            _throughput(bench, kind, size, seen[kind, size])
    if not bench.quick:
        _full_size(bench, seen)


def _throughput(bench, kind, size, rounds):
    name = f"restore of {size / GIB:.2g} GiB, {kind}"
    rates = [sample["bytes"] / sample["restore"] / 1e6 for sample in rounds]
    bench.figure(name, "nothing", "MB/s", rates)
    bench.figure(
        name,
        "the same file by `incus storage volume import`",
        "of its throughput",
        [sample["client"] / sample["restore"] for sample in rounds],
        at_least=0.9,
    )


def _full_size(bench, seen):
    """Measure 10 GiB, and compare it with what smaller drills project."""
    full = _measure(bench, FULL_KIND, FULL)
    _throughput(bench, FULL_KIND, FULL, [full])
    for size in (SMALL, MEDIUM):
        projected = [
            projected_rto(sample["rto"], sample["moving"], full["bytes"] / sample["bytes"])
            for sample in seen[FULL_KIND, size]
        ]
        bench.figure(
            f"RTO of 10 GiB ({FULL_KIND}) as projected from {size / GIB:.2g} GiB",
            f"a drill of 10 GiB: {full['rto']:.1f} s",
            "% off",
            [100 * abs(seconds / full["rto"] - 1) for seconds in projected],
            at_most=15,
        )
    bench.figure(
        "memory of the process: 10 GiB exported, verified, imported",
        "the goal",
        "MiB",
        [full["peak_bytes"] / 2**20],
        at_most=MEMORY_MIB,
        judged="max",
    )


def _measure(bench, kind, size, *options):
    argv = [sys.executable, "-m", "benchmarks.restore", f"--bytes={size}", f"--form={kind}"]
    argv += options
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr[-3000:]}")
    seen = json.loads(done.stdout.splitlines()[-1])
    bench.sample(kind=kind, size=size, order=" ".join(options), **seen)
    return seen


def main():
    """Measure once, and print what was seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--form", required=True, help=", ".join(KINDS))
    parser.add_argument("--drill-last", action="store_true", help="after the client")
    given = parser.parse_args()
    compression = given.form.removeprefix("optimized-")
    form = Form(compression, compression != given.form)
    with stage([SERVICE]) as place:
        service = place.service(SERVICE, "tarball")
        service.deploy()
        fill(service, given.bytes)
        seen = _drill_and_client(place, service, form, drill_last=given.drill_last)
    print(json.dumps({**seen, "peak_bytes": peak_bytes()}), flush=True)


def _drill_and_client(place, service, form, *, drill_last):
    """Recover by the drill, and import the same file by the client; neither from memory."""
    backup = service.back_up("tarball", form)
    file = backup.tarball.path

    def drill():
        BODIES[backup.kind](service.drill, service, backup)
        service.instance.remove()
        service.volume.remove()
        return _facts(service)

    def client():
        argv, pool = ["incus", "storage", "volume"], place.fleet.pool
        seconds = timed(lambda: place.typed([*argv, "import", pool, str(file), "typed"]))
        place.typed([*argv, "delete", pool, "typed"])
        return {"client": seconds}

    acts = [drill, client]
    seen = {}
    for act in reversed(acts) if drill_last else acts:
        forget(file)
        time.sleep(1.0)
        seen |= act()
    return seen


def forget(file):
    """Write everything to the disk, and drop a file from the page cache."""
    os.sync()
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _facts(service):
    record = service.drill.record()
    if record.rto is None:
        raise RuntimeError(f"the drill ended as {record.verdict}: {record.reason}")
    made, restored = record.backup, record.restore
    return {
        "rto": record.rto,
        "phases": {phase.name: phase.seconds for phase in record.phases},
        "export": made.seconds,
        "file_bytes": made.file_bytes,
        "bytes": restored.bytes,
        "restore": restored.seconds,
        "moving": restored.moving,
    }


if __name__ == "__main__":
    main()
