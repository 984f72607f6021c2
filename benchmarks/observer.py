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
from dataclasses import dataclass
from pathlib import Path

from fixtures.lab.host import enter

PAUSE_SECONDS = 0.002
"""Between two probes, so that what is observed has the processors to itself."""

PROBE_SECONDS = 0.25
"""Time-out of one probe: a container that is being killed takes connections and answers none."""


@dataclass(frozen=True)
class Change:
    """The first probe with another answer than the one before; seconds of CLOCK_MONOTONIC."""

    is_healthy: bool
    began: float
    ended: float
    before: float
    """When the probe before it ended."""


@dataclass(frozen=True)
class Outage:
    """From the last good answer to the first good one after it."""

    last_good: float
    first_good: float

    @property
    def seconds(self):
        """Its length."""
        return self.first_good - self.last_good


def read(out):
    """What an observer has written so far."""
    return [Change(**json.loads(line)) for line in out.read_text().splitlines()]


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
        try:
            return outage_after(read(out), moment)
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
        yield out
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
            pid = self._pid()
            if pid != self._entered:
                enter(pid)
                self._entered = pid
            with socket.create_connection(("127.0.0.1", self.port), PROBE_SECONDS) as connection:
                connection.sendall(self.request)
                return b" 200 " in connection.recv(64)
        except (OSError, ValueError):
            self._entered = None
            return False

    def _pid(self):
        """Any process of the container: its systemd is the first that there is."""
        for place in (self.cgroup / "init.scope", self.cgroup):
            try:
                return int((place / "cgroup.procs").read_text().split()[0])
            except (OSError, IndexError):
                continue
        raise ValueError("the container has no process")


def main(cgroup, port, path, out):
    """Write changes until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    probe, last, before = Probe(cgroup, port, path), None, time.monotonic()
    with out.open("a", buffering=1, encoding="utf-8") as lines:
        while True:
            began = time.monotonic()
            healthy = probe.is_healthy()
            ended = time.monotonic()
            if healthy is not last:
                lines.write(json.dumps(vars(Change(healthy, began, ended, before))) + "\n")
                last = healthy
            before = ended
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    os.nice(-5)
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
