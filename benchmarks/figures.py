"""Figures with their goals, the raw samples behind them, and the table that is made of them."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ROOT = HERE.parent
PAGE = ROOT / "docs" / "performance.md"

BEGIN = "<!-- made by `python -m benchmarks --table` from benchmarks/results/ -->"
END = "<!-- end of the table -->"
HEAD = """\
| figure | against | min | median | max | unit | goal | reached |
|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Figure:
    """What was measured, held against something else side by side; one value a repetition.

    A goal is `at_most` or `at_least`, for the `min`, `median` or `max` of the values (`judged`).
    """

    what: str
    against: str
    unit: str
    values: tuple[float, ...]
    at_most: float | None = None
    at_least: float | None = None
    judged: str = "median"

    @property
    def statistics(self):
        """Minimum, median and maximum of the values."""
        values = self.values
        return {"min": min(values), "median": statistics.median(values), "max": max(values)}

    @property
    def met(self):
        """Whether the goal is reached; None where there is none."""
        value = self.statistics[self.judged]
        if self.at_most is not None:
            return value <= self.at_most
        return None if self.at_least is None else value >= self.at_least

    @property
    def goal(self):
        """The goal in words; empty where there is none."""
        word = "" if self.judged == "median" else f" ({self.judged})"
        if self.at_most is not None:
            return f"{number(self.at_most)} or less{word}"
        return "" if self.at_least is None else f"{number(self.at_least)} or more{word}"

    def as_json(self):
        """Everything, for the results file."""
        return {**vars(self), "values": list(self.values), **self.statistics, "met": self.met}

    @classmethod
    def from_json(cls, data):
        """A figure of a results file."""
        fields = {name: data[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "values": tuple(data["values"])})

    def __str__(self):
        seen = {key: number(value) for key, value in self.statistics.items()}
        judged = {True: ": reached", False: ": NOT reached", None: ""}[self.met]
        return (
            f"{self.what}: {seen['median']} {self.unit} "
            f"(min {seen['min']}, max {seen['max']}, n={len(self.values)})"
            + (f", goal {self.goal}{judged}" if self.goal else "")
        )


@dataclass
class Bench:
    """One benchmark while it runs; `report` prints a line.

    `quick` has sizes and counts that take seconds, to see that it works: never written as results.
    """

    name: str
    repeat: int
    report: Callable[[str], None]
    quick: bool = False
    figures: list[Figure] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def sample(self, **facts):
        """Keep one raw measurement; lengths in seconds, sizes in bytes."""
        self.samples.append(facts)
        shown = (f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items())
        self.report(f"{self.name}: {', '.join(shown)}")
        return facts

    def figure(self, what, against, unit, values, **goal):
        """Keep one figure; see `Figure`."""
        made = Figure(what, against, unit, tuple(round(value, 4) for value in values), **goal)
        self.figures.append(made)
        self.report(f"{self.name}: {made}")

    def side_by_side(self, acts, **facts):
        """Time acts (name -> act that returns its seconds) in turn; return one sample a round.

        Every second round has the other order; `facts` are kept with each sample.
        """
        rounds = []
        for number in range(self.repeat):
            order = list(acts.items())
            seconds = {name: act() for name, act in (reversed(order) if number % 2 else order)}
            in_order = {name: seconds[name] for name in acts}
            rounds.append(self.sample(**facts, round=number, **in_order))
        return rounds


def timed(act):
    """The seconds of an act."""
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def ratios(rounds, first, second):
    """Return `first` divided by `second`, round by round."""
    return [sample[first] / sample[second] for sample in rounds]


def number(value):
    """A value with three digits that mean something."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write(bench, begun, seconds):
    """Write the results of a benchmark; returns the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{bench.name}.json"
    content = {
        "benchmark": bench.name,
        "command": f"./run bench {bench.name}",
        "begun": begun.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "machine": machine(),
        "figures": [figure.as_json() for figure in bench.figures],
        "samples": bench.samples,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def read(directory=RESULTS):
    """The results files, by benchmark."""
    return {
        path.stem: json.loads(path.read_text("utf-8")) for path in sorted(directory.glob("*.json"))
    }


def fill_page(page, results):
    """Return a page with a row for each figure between its marks.

    Raises:
        ValueError: the page has not both marks.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the table: {BEGIN} and {END}")
    rows = [
        _row(name, Figure.from_json(data))
        for name, result in results.items()
        for data in result["figures"]
    ]
    return "\n".join([head + begin, HEAD, *rows, end + tail])


def _row(name, figure):
    values = [number(value) for value in figure.statistics.values()]
    reached = {True: "yes", False: "**no**", None: ""}[figure.met]
    what = (f"{name}: {figure.what}", figure.against)
    return f"| {' | '.join((*what, *values, figure.unit, figure.goal, reached))} |"


def machine():
    """What it was measured on; no name of the machine."""
    cpu = [row for row in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in row]
    return {
        "cores": os.cpu_count(),
        "cpu": cpu[0].split(":", 1)[1].strip() if cpu else platform.processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "clean": _git("status", "--porcelain", "--", "fixtures", "drills", "fleets") == "",
    }


def _git(*argv):
    done = subprocess.run(["git", "-C", str(ROOT), *argv], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
