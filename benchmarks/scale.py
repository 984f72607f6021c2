"""Scale of records: runs and histories of 1,000 and 10,000 drills."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import ROOT, Bench, ratios, timed
from benchmarks.scale_records import synthetic
from fixtures.evidence.history import append_history, read_history
from fixtures.evidence.runbook_table import benchmark_rows
from fixtures.evidence.writer import write_evidence

MANY, FEW = 10_000, 1_000
MIB = 2**20
PAGE = """
import resource, sys
from fixtures.evidence.html import main
main(sys.argv[1:])
own = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
sys.stderr.write(f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss} {own}")
"""
"""The page, and peaks of memory in KiB: of the largest process that packs cards, with what it
shares with its parent, and its own (`VmHWM`: `ru_maxrss` of a child begins with its parent's)."""


def run(bench: Bench) -> None:
    """The page and the table of many drills."""
    many, few = (MANY, FEW) if not bench.quick else (1_000, 100)
    with tempfile.TemporaryDirectory(prefix="atlas-scale-") as name:
        directory = Path(name)
        _reports(bench, directory, many, few)
        _history(bench, directory, many)


def _reports(bench: Bench, directory: Path, many: int, few: int) -> None:
    """The page of a large run, made from its evidence by the command that auditors have."""
    places = {}
    for drills in (few, many):
        places[drills] = write_evidence(synthetic(drills), directory / str(drills))
    peaks: dict[int, list[float]] = {few: [], many: []}
    packers: dict[int, list[float]] = {few: [], many: []}
    page = directory / "page.html"

    def made(drills: int) -> float:
        argv = [sys.executable, "-c", PAGE, str(places[drills])]
        begun = time.monotonic()
        with page.open("wb") as output:
            done = subprocess.run(
                argv, stdout=output, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=True
            )
        seconds = time.monotonic() - begun
        packer, own = (int(kib) * 1024 / MIB for kib in done.stderr.split()[-2:])
        peaks[drills].append(own)
        packers[drills].append(packer)
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
    each = f"{named}: peak memory of each of the processes that pack cards"
    bench.figure(each, "what it shares is counted in", "MiB", packers[many])


def _history(bench: Bench, directory: Path, many: int) -> None:
    """The runbook's table from a history of so many drills."""
    history = directory / "history.jsonl"
    past = synthetic(many).model_copy(update={"run": "past"})
    append_history(past, history)
    now = synthetic(1)

    def table() -> None:
        if not benchmark_rows(now, read_history(history), {}):
            raise RuntimeError("the history has no row")

    seconds = [timed(table) for _ in range(bench.repeat)]
    bench.sample(history_bytes=history.stat().st_size, seconds=seconds)
    bench.figure(f"history of {many:,} drills read", "the runbook's table from it", "s", seconds)
