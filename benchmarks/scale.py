"""Scale: harness time for each drill in fleets of 7 to 105 services, and runs of 10,000 drills."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import scale_fleet
from benchmarks.figures import ROOT, Bench, ratios, timed
from benchmarks.scale_records import synthetic
from fixtures.evidence.history import append_history, each_of_history
from fixtures.evidence.runbook_table import benchmark_rows
from fixtures.evidence.writer import write_evidence
from fixtures.fleet.load import load_fleet
from fixtures.lab.house import Lab
from fixtures.plugin.progress import Progress
from fixtures.plugin.target import bring_up

MANY, FEW = 10_000, 1_000
SIZES = (7, 35, 105)
DRILLED = 7
MIB = 2**20
PAGE = """
import sys
from fixtures.evidence.html import main
main(sys.argv[1:])
sys.stderr.write(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""
"""The page, and the peak of memory in KiB: `ru_maxrss` of a child begins with its parent's."""

FIGURES = (
    ("wall", "time of the run for each drill", "from the start of pytest, with Incus' own time"),
    ("cpu", "harness time for each drill", "CPU time of pytest: what Incus takes is not in it"),
)
"""Of a sample -> what it is called, and a note."""


def run(bench: Bench) -> None:
    """All figures of scale; the fleets only where there is time for a lab."""
    many, few = (MANY, FEW) if not bench.quick else (1_000, 100)
    with tempfile.TemporaryDirectory(prefix="atlas-scale-") as name:
        directory = Path(name)
        _reports(bench, directory, many, few)
        _history(bench, directory, many)
        if not bench.quick:
            _fleets(bench, directory)


def _reports(bench: Bench, directory: Path, many: int, few: int) -> None:
    """The page of a large run, made from its evidence by the command that auditors have."""
    places = {}
    for drills in (few, many):
        places[drills] = write_evidence(synthetic(drills), directory / str(drills))
    peaks: dict[int, list[float]] = {few: [], many: []}
    page = directory / "page.html"

    def made(drills: int) -> float:
        argv = [sys.executable, "-c", PAGE, str(places[drills])]
        begun = time.monotonic()
        with page.open("wb") as output:
            done = subprocess.run(
                argv, stdout=output, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=True
            )
        seconds = time.monotonic() - begun
        peaks[drills].append(int(done.stderr.split()[-1]) * 1024 / MIB)
        return seconds

    ways = {"few": lambda: made(few), "many": lambda: made(many)}
    rounds = bench.side_by_side(ways, drills_few=few, drills_many=many)
    made(many)
    size = page.stat().st_size / 1e6
    bench.sample(report_bytes=page.stat().st_size, peak_mib=peaks[many], peak_mib_few=peaks[few])
    named = f"report of {many:,} drills"
    bench.figure(named, "its evidence.json", "s", [one["many"] for one in rounds], at_most=5)
    bench.figure(f"{named}: size", "one self-contained page", "MB", [size], at_most=10)
    linear = [value * few / many for value in ratios(rounds, "many", "few")]
    bench.figure(f"{named}: seconds for each drill", f"{few:,} drills", "ratio", linear)
    note = f"{peaks[few][0]:.0f} MiB for {few:,} drills"
    bench.figure(f"{named}: peak memory", "the process", "MiB", peaks[many], at_most=200, note=note)


def _history(bench: Bench, directory: Path, many: int) -> None:
    """The runbook's table from a history of so many drills."""
    history = directory / "history.jsonl"
    past = synthetic(many).model_copy(update={"run": "past"})
    append_history(past, history)
    now = synthetic(1)

    def table() -> None:
        if not benchmark_rows(now, each_of_history(history), {}):
            raise RuntimeError("the history has no row")

    seconds = [timed(table) for _ in range(bench.repeat)]
    bench.sample(history_bytes=history.stat().st_size, seconds=seconds)
    bench.figure(f"history of {many:,} drills read", "the runbook's table from it", "s", seconds)


def _fleets(bench: Bench, directory: Path) -> None:
    """The same seven drills, while the fleet and its source project grow."""
    samples: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for size in SIZES:
        file = scale_fleet.write(size, directory)
        with _source(size, file, bench):
            # The first run of a fleet pays for what the others find in caches.
            for number in range(bench.repeat + 1):
                sample = _drilled(file, directory / f"reports-{size}-{number}")
                bench.sample(services=size, round=number, **sample)
                if number:
                    samples[size].append(sample)
    small = samples[SIZES[0]]
    for size in SIZES[1:]:
        for what, named, note in FIGURES:
            pairs = zip(samples[size], small, strict=True)
            values = [one[what] / other[what] for one, other in pairs]
            told = f"{named}, {size} services"
            bench.figure(told, f"{SIZES[0]} services", "ratio", values, at_most=1.1, note=note)


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


def _drilled(file: Path, reports: Path) -> dict[str, float]:
    """Seven snapshot drills by pytest: seconds of wall and CPU for each drill."""
    names = " or ".join(f"svc{number:03d}" for number in range(1, DRILLED + 1))
    argv = [sys.executable, "-m", "pytest", "drills/test_restore_from_snapshot.py", "-q"]
    argv += ["-p", "no:cacheprovider", f"--fleet={file}", f"--reports={reports}", "-k", names]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if f"{DRILLED} passed" not in done.stdout:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    in_tests = _in_tests(reports)
    return {
        "wall": wall / DRILLED,
        "harness": (wall - in_tests) / DRILLED,
        "cpu": cpu / DRILLED,
        "tests": in_tests / DRILLED,
    }


def _in_tests(reports: Path) -> float:
    """Seconds inside of the tests: their set-up, body and removal, of which most is Incus' own."""
    (file,) = reports.glob("*/junit.xml")
    return sum(map(float, re.findall(r'<testcase [^>]*time="([\d.]+)"', file.read_text("utf-8"))))
