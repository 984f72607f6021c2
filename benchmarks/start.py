"""From `./run drills` to the first verdict: from nothing, and with everything in the cache."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.figures import ROOT
from fixtures.errors import LabError

DRILL = ("drills", "-v", "-k", "mosquitto and snapshot and rehearsal")
BUILT = re.compile(r"(?P<what>lab root|image mosquitto).*: done in (?P<seconds>[\d.]+) s")
COLD_SECONDS = 900
WARM_SECONDS = 120
WHAT = "`./run drills`, one service's snapshot"


class Start:
    """One start of the drill: when its lines came, in seconds since the process was started."""

    def __init__(self):
        self.lines: list[tuple[float, str]] = []

    def first(self, pattern):
        """When the first line that has `pattern` came.

        Raises:
            LabError: it did not come; holds the end of the output.
        """
        for moment, line in self.lines:
            if re.search(pattern, line):
                return moment
        end = "\n".join(line for _, line in self.lines[-20:])
        raise LabError(f"the run did not come to {pattern!r}; its last lines:\n{end}")

    @property
    def verdict(self):
        """When the first verdict was there: the drill's line."""
        self.first(r"verdict of the run: recovered$")
        return self.first(r"^\[1/1\] ")

    @property
    def silence(self):
        """The longest time without a line before the verdict."""
        moments = [0.0, *(moment for moment, _ in self.lines if moment <= self.verdict)]
        return max(after - before for before, after in itertools.pairwise(moments))


def start(env, seconds):
    """`./run drills` of one service as an operator types it, its output in a pipe.

    Raises:
        LabError: it took too long; it and all that it has started is ended.
    """
    run, began = Start(), time.monotonic()
    process = subprocess.Popen(
        ["./run", *DRILL],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        for line in process.stdout:
            run.lines.append((time.monotonic() - began, line.rstrip("\n")))
            if time.monotonic() > began + seconds:
                raise LabError("the run took too long")
        process.wait(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
    return run


def run(bench):
    """Warm starts, and unless it is to be quick, one cold start."""
    # Short, since the path of a Unix socket is; a new one, so that no lab in use is touched.
    home = Path(tempfile.mkdtemp(prefix="atlas-start-", dir="/var/tmp"))
    try:
        _warm(bench, home)
        if not bench.quick:
            _cold(bench, home)
    finally:
        _lab(home, "down")
        shutil.rmtree(home)


def _warm(bench, home):
    env = _environment(home)
    start(env, COLD_SECONDS)  # whatever the cache lacks is made before anything is measured
    rounds = []
    for number in range(bench.repeat):
        _lab(home, "down")
        cold = start(env, WARM_SECONDS)
        _lab(home, "up")
        warm = start(env, WARM_SECONDS)
        environment, lab = cold.first("of fleet atlas on lab$"), cold.first("lab lab: up on")
        sample = bench.sample(
            start="warm",
            round=number,
            first_line=cold.lines[0][0],
            verdict=cold.verdict,
            verdict_lab_up=warm.verdict,
            environment=environment,
            lab=lab - environment,
            drill=cold.verdict - lab,
            longest_silence=cold.silence,
        )
        rounds.append(sample)
    first, down = ([one[name] for one in rounds] for name in ("first_line", "verdict"))
    bench.figure(f"{WHAT}: first line", "from the start", "s", first, at_most=1, judged="max")
    verdict = f"warm start of {WHAT}: first verdict"
    bench.figure(verdict, "from the start, lab down", "s", down)
    ratio = [one["verdict"] / one["verdict_lab_up"] for one in rounds]
    bench.figure(verdict, "the same with the lab up and its source filled", "ratio", ratio)


def _cold(bench, home):
    """Once; cache and state are empty, Debian's packages on the host and Go's modules are not."""
    seen = start({**_environment(home / "n"), "ATLAS_DRILLS_CACHE": str(home / "c")}, COLD_SECONDS)
    environment = seen.first("^./run: starting")
    built = {m["what"]: float(m["seconds"]) for _, line in seen.lines if (m := BUILT.search(line))}
    bench.sample(
        start="cold",
        first_line=seen.lines[0][0],
        verdict=seen.verdict,
        environment=environment,
        lab_root=built["lab root"],
        image=built["image mosquitto"],
        drill=seen.verdict - max(seen.first(f"{what}.*: done in") for what in built),
        longest_silence=seen.silence,
    )
    bench.figure(
        "cold start: first verdict of one Debian-packaged service",
        "the sum of what it cannot avoid: Python environment, lab root, its image",
        "ratio",
        [seen.verdict / (environment + sum(built.values()))],
        at_most=1.2,
    )
    bench.figure("cold start: longest silence", "lines of the run", "s", [seen.silence], at_most=10)
    _lab(home / "n", "down")


def _environment(home):
    home.mkdir(exist_ok=True)
    return {"ATLAS_DRILLS_STATE": str(home / "s"), "ATLAS_DRILLS_RUNTIME": str(home / "r")}


def _lab(home, verb):
    argv, env = ["./run", "lab", verb], {**os.environ, **_environment(home)}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"./run lab {verb}: {done.stdout}{done.stderr}")
