"""An observer from outside: it asks a service's health port in a tight loop, and knows no drill.

`python -m benchmarks.observer CGROUP PORT PATH OUT` enters the network namespace of whatever runs
in CGROUP (again each time that this is another container), asks `GET PATH` on the loopback there,
and appends one line to OUT whenever the answer changes. Times are of CLOCK_MONOTONIC, which all
processes of a machine share: they can be held against those of a drill.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fixtures.lab.host import enter

PAUSE_SECONDS = 0.002
"""Between two probes, so that what is observed has the processors to itself."""

PROBE_SECONDS = 0.25
"""Time-out of one probe: a container that is being killed takes connections and answers none."""


class Change(NamedTuple):
    """The first probe with another answer than the one before it, which ended at `before`."""

    is_healthy: bool
    ended: float
    before: float


class Outage(NamedTuple):
    """From the last good answer to the first good one after it."""

    last_good: float
    first_good: float


def outage_after(changes, moment):
    """The first outage that ended after `moment`.

    Raises:
        ValueError: there is none.
    """
    lost = None
    for change in changes:
        if not change.is_healthy:
            lost = change
        elif lost is not None and change.ended >= moment:
            return Outage(lost.before, change.ended)
    raise ValueError(f"the observer saw no outage after {moment:.3f}: {changes}")


def next_outage(out, moment, patience=5.0):
    """The first outage that ended after `moment`, as soon as the observer has written it.

    Raises:
        ValueError: it has not within `patience` seconds.
    """
    until = time.monotonic() + patience
    while True:
        changes = [Change(*json.loads(line)) for line in out.read_text().splitlines()]
        try:
            return outage_after(changes, moment)
        except ValueError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


@contextmanager
def observing(cgroup, port, path, out):
    """Run an observer for as long as the block lasts; its lines are in `out`."""
    argv = [sys.executable, "-m", "benchmarks.observer", str(cgroup), str(port), path, str(out)]
    process = subprocess.Popen(argv)
    try:
        while not out.exists():
            if process.poll() is not None:
                raise RuntimeError(f"the observer ended with status {process.returncode}")
            time.sleep(0.01)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


class Probe:
    """One health port of one container, whichever process it is just now."""

    def __init__(self, cgroup, port, path):
        self.cgroup = cgroup
        self.port = port
        self.request = f"GET {path} HTTP/1.0\r\nHost: health\r\n\r\n".encode()
        self._entered: int | None = None

    def is_healthy(self):
        """Whether the port answers 200 now."""
        try:
            # Any process of the container: its systemd is the first that there is.
            pid = self._first_of(self.cgroup / "init.scope") or self._first_of(self.cgroup)
            if pid != self._entered:
                enter(pid)
                self._entered = pid
            with socket.create_connection(("127.0.0.1", self.port), PROBE_SECONDS) as connection:
                connection.sendall(self.request)
                return b" 200 " in connection.recv(64)
        except OSError:
            self._entered = None
            return False

    @staticmethod
    def _first_of(cgroup):
        processes = cgroup / "cgroup.procs"
        pids = processes.read_text().split() if processes.exists() else ()
        return int(pids[0]) if pids else 0


def main(cgroup, port, path, out):
    """Write changes until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    probe, last, before = Probe(cgroup, port, path), None, time.monotonic()
    with out.open("a", buffering=1, encoding="utf-8") as lines:
        while True:
            healthy = probe.is_healthy()
            ended = time.monotonic()
            if healthy is not last:
                lines.write(json.dumps(Change(healthy, ended, before)) + "\n")
                last = healthy
            before = ended
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    os.nice(-5)
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
