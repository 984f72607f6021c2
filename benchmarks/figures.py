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


@dataclass(frozen=True)
class Figure:
    """One figure of one benchmark.

    Args:
        what: what was measured, as the row of the table reads.
        against: what it was held against, side by side.
        unit: of the values: `ratio`, `times faster`, `s`, `ms`, `MiB`, ...
        values: one for each repetition.
        at_most: the goal, for figures that have to be small.
        at_least: the goal, for figures that have to be large. Without either it is not judged.
        judged: which of `min`, `median` and `max` the goal is about.
        note: what a reader has to know of it.
    """

    what: str
    against: str
    unit: str
    values: tuple[float, ...]
    at_most: float | None = None
    at_least: float | None = None
    judged: str = "median"
    note: str = ""

    def __post_init__(self):
        if not self.values:
            raise ValueError(f"{self.what}: no value was measured")
        if self.judged not in ("min", "median", "max"):
            raise ValueError(f"{self.what}: {self.judged} is no statistic")

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
        if self.at_least is not None:
            return value >= self.at_least
        return None

    def as_json(self):
        """Everything, for the results file."""
        return {**vars(self), "values": list(self.values), **self.statistics, "met": self.met}

    @classmethod
    def from_json(cls, data):
        """A figure of a results file."""
        fields = {name: data[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "values": tuple(data["values"])})


@dataclass
class Bench:
    """One benchmark while it runs.

    Args:
        name: of its module.
        repeat: how many times each figure is taken.
        report: prints one line of progress.
        quick: sizes and counts that take seconds, to see that it works; never written as results.
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
        self.report(f"{self.name}: " + ", ".join(f"{k} {_short(v)}" for k, v in facts.items()))
        return facts

    def figure(self, what, against, unit, values, **goal):
        """Keep one figure; see `Figure`."""
        made = Figure(what, against, unit, tuple(round(value, 4) for value in values), **goal)
        self.figures.append(made)
        self.report(f"{self.name}: {line(made)}")

    def side_by_side(self, acts, **facts):
        """Time several acts in turn, `repeat` times; every second round in the other order.

        Args:
            acts: name -> act that returns its own seconds.
            facts: kept with each sample.

        Returns:
            One sample a round: the seconds of each act under its name.
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


def line(figure):
    """A figure in one line of text."""
    seen = figure.statistics
    goal = goal_of(figure)
    judged = {True: ": reached", False: ": NOT reached", None: ""}[figure.met]
    return (
        f"{figure.what}: {number(seen['median'])} {figure.unit} "
        f"(min {number(seen['min'])}, max {number(seen['max'])}, n={len(figure.values)})"
        + (f", goal {goal}{judged}" if goal else "")
    )


def goal_of(figure):
    """The goal in words; empty where there is none."""
    word = "" if figure.judged == "median" else f" ({figure.judged})"
    if figure.at_most is not None:
        return f"{number(figure.at_most)} or less{word}"
    if figure.at_least is not None:
        return f"{number(figure.at_least)} or more{word}"
    return ""


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


def table(results):
    """Return Markdown: one row a figure."""
    lines = [
        "| figure | against | min | median | max | unit | goal | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    reached = {True: "yes", False: "**no**", None: ""}
    for name, result in results.items():
        for figure in map(Figure.from_json, result["figures"]):
            seen = {key: number(value) for key, value in figure.statistics.items()}
            lines.append(
                f"| {name}: {figure.what} | {figure.against} | {seen['min']} | {seen['median']} | "
                f"{seen['max']} | {figure.unit} | {goal_of(figure)} | {reached[figure.met]} |"
            )
    return lines


def fill_page(page, results):
    """Return a page with the table between its marks.

    Raises:
        ValueError: the page has not both marks.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the table: {BEGIN} and {END}")
    return "\n".join([head + begin, *table(results), end + tail])


def write_table(results, page=PAGE):
    """Put the table into docs/performance.md."""
    page.write_text(fill_page(page.read_text("utf-8"), results), encoding="utf-8")


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
    done = subprocess.run(
        ["git", "-C", str(ROOT), *argv], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _short(value):
    return f"{value:.3f}" if isinstance(value, float) else str(value)
