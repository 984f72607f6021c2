"""Restore throughput by kind and size, the projection to full size, and memory on the way.

Each weight is drilled in a process of its own (`benchmarks/weigh.py`), with the same file imported
by the client, and unpacked straight into the pool, beside it; every second round in other order.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.figures import ROOT, Bench
from benchmarks.memory import memory
from fixtures.recovery.drill import projected_rto

GIB = 2**30
KINDS = ("none", "gzip", "zstd", "optimized-none")
FULL = 10 * GIB
FULL_KINDS = ("zstd",)
"""The fleet file's own; Incus' gzip would take 5 minutes for 10 GiB."""

Seen = dict[tuple[str, int], list[dict[str, Any]]]
"""Kind and size in bytes -> what `weigh` told, round by round."""

BY_CLIENT = "the same file by `incus storage volume import`"
MEMORY_MIB = 200


def run(bench: Bench) -> None:
    """Weigh every kind at 0.1 and 1 GiB, and the fleet file's at 10 GiB, encrypted too."""
    with memory() as cache:
        # For as long as it is held here, each weight has but little to fill.
        cache.fill()
        seen = _small(bench)
        if not bench.quick:
            _full(bench, seen)


def _small(bench: Bench) -> Seen:
    seen: Seen = {}
    for size in (GIB // 20,) if bench.quick else (GIB // 10, GIB):
        for kind in KINDS:
            seen[kind, size] = [
                _weigh(bench, kind, size, *(["--drill-last"] if number % 2 else []))
                for number in range(1 if bench.quick else bench.repeat)
            ]
            _against(bench, kind, size, seen[kind, size])
    return seen


def _full(bench: Bench, seen: Seen) -> None:
    for kind in FULL_KINDS:
        seen[kind, FULL] = [_weigh(bench, kind, FULL)]
        _against(bench, kind, FULL, seen[kind, FULL])
        _projection(bench, kind, seen)
    sealed = _weigh(bench, "zstd", FULL, "--encrypt")
    peaks = [seen[kind, FULL][0]["peak_bytes"] for kind in FULL_KINDS] + [sealed["peak_bytes"]]
    bench.figure(
        "memory of the process: 10 GiB exported, verified, imported; and encrypted",
        "the wish",
        "MiB",
        [peak / 2**20 for peak in peaks],
        at_most=MEMORY_MIB,
        judged="max",
    )


def _against(bench: Bench, kind: str, size: int, rounds: list[dict[str, Any]]) -> None:
    name = f"restore of {size / GIB:.2g} GiB, {kind}"
    rates = [one["bytes"] / one["restore"] / 1e6 for one in rounds]
    bench.figure(name, "nothing", "MB/s", rates)
    bench.figure(
        name,
        BY_CLIENT,
        "of its throughput",
        [one["client"] / one["restore"] for one in rounds],
        at_least=0.9,
    )
    bench.figure(
        f"{name}: what moves bytes, without the instance that is made beside and after it",
        BY_CLIENT,
        "of its throughput",
        [one["client"] / one["moving"] for one in rounds],
    )
    straight = "`btrfs receive`" if kind.startswith("optimized-") else "`tar -x`"
    bench.figure(
        name,
        f"the pool's own limit ({straight} into it)",
        "of its throughput",
        [one["limit"] / one["restore"] for one in rounds],
        note="Incus writes the upload to a file of its own before it unpacks it",
    )


def _projection(bench: Bench, kind: str, seen: Seen) -> None:
    """What drills of 0.1 and 1 GiB say of 10 GiB, beside a drill of 10 GiB."""
    (full,) = seen[kind, FULL]
    for size in (GIB // 10, GIB):
        projected = [_projected(one, full["bytes"]) for one in seen[kind, size]]
        bench.figure(
            f"RTO of 10 GiB ({kind}) as projected from {size / GIB:.2g} GiB",
            f"a drill of 10 GiB: {full['rto']:.1f} s",
            "% off",
            [100 * abs(one / full["rto"] - 1) for one in projected],
            at_most=15,
        )


def _projected(one: dict[str, Any], size: int) -> float:
    """The projection of the engine itself, for another declared size."""
    restore = one["record"]["restore"]
    return projected_rto(one["rto"], restore["moving"], size / restore["bytes"])


def _weigh(bench: Bench, kind: str, size: int, *more: str) -> dict[str, Any]:
    argv = [sys.executable, "-m", "benchmarks.weigh", f"--bytes={size}", f"--form={kind}", *more]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr[-3000:]}")
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told = {key: value for key, value in seen.items() if key != "record"}
    bench.sample(kind=kind, size=size, order=" ".join(more), **told)
    return seen
