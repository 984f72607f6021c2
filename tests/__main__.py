"""`python -m tests`: all tests, in two pytest processes at once, each with a lab of its own.

A test of a drill waits for Incus for half of its time. Two processes in one lab would see each
other's source project change; two labs share nothing but the cache of what labs are built from.

With arguments (a path, `-k`, `-x`, ...) it is one pytest, with these arguments.
"""

import os
import signal
import subprocess
import sys
import threading

from fixtures.lab import settings
from tests.remote.server import small_fleet

SHARES = {
    "sabotage": ("plugin", "mutations", "sabotage", "runbook"),
    "others": (
        *("arch", "unit", "guard", "report"),
        *("cluster", "faults", "lab", "remote", "script"),
    ),
}
"""Name of a process -> its directories: together all of them, and about as long as one another."""

FEW = {"others": ("alertmanager", "mosquitto", "prometheus", "step-ca")}
"""Shares whose lab is filled with these services alone: their tests ask for no others."""

# Hypothesis' own profile for machines that stall: no limit on a single example's time.
PYTEST = (sys.executable, "-m", "pytest", "--durations=15", "--hypothesis-profile=ci")


def _of_atlas(fleet):
    """Leave the fleet its own names: runs of the whole one are made in the same lab."""
    fleet |= {"name": "atlas", "source_project": "atlas"}


class Share:
    """One pytest process; each line that it prints is passed on behind its name.

    Args:
        name: of `SHARES`; also of the directory that its lab is kept in.
    """

    def __init__(self, name):
        self.name = name
        self.failed = []
        state = settings.from_environment().state / name
        options = []
        if name in FEW:
            state.mkdir(parents=True, exist_ok=True)
            file = small_fleet(state / "fleet.yaml", FEW[name], _of_atlas)
            options = [f"--fleet={file}"]
        self._process = subprocess.Popen(
            [*PYTEST, *options, *(f"tests/{directory}" for directory in SHARES[name])],
            env={**os.environ, "ATLAS_DRILLS_STATE": str(state)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self):
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                print(f"{self.name}: {line}", end="", flush=True)
                if line.startswith(("FAILED", "ERROR")):
                    self.failed.append(line)

    def wait(self):
        """Its exit status, once it has ended; by Ctrl-C it is told to by the terminal."""
        while True:
            try:
                self._reading.join()
                return self._process.wait()
            except KeyboardInterrupt:
                print("tests: waiting until the labs are gone", flush=True)

    def end(self):
        """End it if it still runs: nobody reads what it prints any more."""
        if self._process.poll() is None:
            self._process.terminate()


def main(argv):
    """Run the tests; returns the exit status, 0 where all have passed."""
    if argv:
        return subprocess.call([*PYTEST, "-o", "testpaths=tests", *argv])
    shares = [Share(name) for name in SHARES]
    try:
        statuses = {share.name: share.wait() for share in shares}
    finally:
        for share in shares:
            share.end()
    for share in shares:
        # Of the one that ended first they are far above.
        print("".join(share.failed), end="")
    print("tests:", ", ".join(f"{name} ended with status {s}" for name, s in statuses.items()))
    return max(statuses.values(), key=abs)


def terminated(*_):
    """Whoever ends this process alone, and not its group, ends the shares too."""
    sys.exit("tests: terminated")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminated)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, terminated)
    sys.exit(main(sys.argv[1:]))
