"""Scale of fleets: harness time for each drill where the fleet has 7, 35 and 105 services."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import scale_fleet
from benchmarks.each_drill import processor_seconds
from benchmarks.figures import ROOT, Bench, timed
from benchmarks.memory import Memory, memory
from fixtures.fleet.load import load_fleet
from fixtures.lab.lab import Lab
from fixtures.plugin.progress import Progress
from fixtures.plugin.target import bring_up

SIZES = (7, 35, 105)
QUICK_SIZES = (7, 14)
DRILLED = 7
"""Drills of a run. The first pays for what the others find (modules, the drill project), and the
last for what the run puts away: the others are those that are counted."""

FIGURES = (
    ("cpu_each", "harness time for each drill", 1.1),
    ("cpu_of_run", "harness time of a run beside its drills (start, two inventories)", None),
    ("wall_each", "time of each drill, with Incus' own", None),
)
"""Of a sample -> what it is called, and its goal; CPU time of pytest, in which Incus' is not."""


def run(bench: Bench) -> None:
    """The same drills, while the fleet and its source project grow."""
    with tempfile.TemporaryDirectory(prefix="atlas-scale-") as name, memory() as cache:
        _fleets(bench, Path(name), QUICK_SIZES if bench.quick else SIZES, cache)


def _fleets(bench: Bench, directory: Path, sizes: tuple[int, ...], cache: Memory) -> None:
    samples: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for size in sizes:
        file = scale_fleet.write(size, directory)
        with _source(size, file, bench):
            # The first run of a fleet pays for what the others find in caches.
            for number in range(bench.repeat + 1):
                cache.fill()
                sample = _sample(file, directory / f"reports-{size}-{number}")
                bench.sample(services=size, round=number, **sample)
                if number:
                    samples[size].append(sample)
    small = samples[sizes[0]]
    for size in sizes[1:]:
        for what, named, goal in FIGURES:
            pairs = zip(samples[size], small, strict=True)
            values = [one[what] / other[what] for one, other in pairs]
            told = f"{named}, {size} services"
            bench.figure(told, f"{sizes[0]} services", "ratio", values, at_most=goal)


@contextmanager
def _source(size: int, file: Path, bench: Bench) -> Iterator[None]:
    """A lab whose source project is this fleet, and nothing else; gone afterwards."""
    fleet = load_fleet(file)
    lab = Lab(report=bench.report, images=fleet.images)
    lab.down()
    seconds = timed(lambda: bring_up(lab, fleet, Progress(sys.stdout)))
    bench.sample(services=size, lab_up_and_filled=seconds)
    try:
        yield
    finally:
        lab.down()


def _sample(file: Path, reports: Path) -> dict[str, float]:
    """Seconds of a drill (the median of those that are counted), and of the run beside its drills.

    Runs of one drill and of many are not subtracted from one another: the start of a run scatters
    by more than a drill takes.
    """
    reports.mkdir()
    each = reports / "each.jsonl"
    argv = [sys.executable, "-m", "pytest", "drills/test_restore_from_snapshot.py", "-q"]
    argv += ["-p", "no:cacheprovider", "-p", "benchmarks.each_drill"]
    argv += [f"--fleet={file}", f"--reports={reports}", "-k", _chosen()]
    used = processor_seconds(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={**os.environ, "ATLAS_EACH_DRILL": str(each)},
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.monotonic() - begun
    cpu = processor_seconds(resource.RUSAGE_CHILDREN) - used
    if f"{DRILLED} passed" not in done.stdout:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    drills = [json.loads(row) for row in each.read_text("utf-8").splitlines()]
    wall_each, cpu_each = (
        statistics.median(drill[what] for drill in drills[1:-1]) for what in ("wall", "cpu")
    )
    return {
        "wall_each": wall_each,
        "cpu_each": cpu_each,
        "wall_of_run": wall - DRILLED * wall_each,
        "cpu_of_run": cpu - DRILLED * cpu_each,
    }


def _chosen() -> str:
    return " or ".join(f"svc{number:03d}" for number in range(1, DRILLED + 1))
