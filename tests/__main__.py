"""`python -m tests`: all tests, in four pytest processes at once, each with a lab of its own.

A test of a drill waits for Incus for half of its time, so that four keep two cores busy. Processes
in one lab would see each other's source project change; labs share nothing but the cache of what
they are built from.

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
    "sabotage": ("arch", "guard", "mutations", "sabotage"),
    "plugin": ("plugin", "runbook", "report", "script"),
    "others": ("unit", "faults", "lab"),
    "servers": ("cluster", "remote"),
}
"""Name of a process -> its directories: together all of them, and about as long as one another."""

FEW = {"others": ("alertmanager", "mosquitto", "prometheus", "step-ca")}
"""Shares whose lab is filled with these services alone: their tests ask for no others."""

PYTEST = (sys.executable, "-m", "pytest", "--durations=15")


def _of_atlas(fleet):
    """Leave the fleet its own names: runs of the whole one are made in the same lab."""
    fleet |= {"name": "atlas", "source_project": "atlas"}


class Share(threading.Thread):
    """One pytest process; each line that it prints is passed on behind its name.

    Its name, of `SHARES`, is also that of the directory that its lab is kept in.
    """

    def __init__(self, name):
        super().__init__(name=name)
        self.failed = []
        state = settings.from_environment().state / name
        options = []
        if name in FEW:
            state.mkdir(parents=True, exist_ok=True)
            file = small_fleet(state / "fleet.yaml", FEW[name], _of_atlas)
            options = [f"--fleet={file}"]
        self.process = subprocess.Popen(
            [*PYTEST, *options, *(f"tests/{directory}" for directory in SHARES[name])],
            env={**os.environ, "ATLAS_DRILLS_STATE": str(state)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.start()

    def run(self):
        with self.process:
            for line in self.process.stdout:
                print(f"{self.name}: {line}", end="", flush=True)
                if line.startswith(("FAILED", "ERROR")):
                    self.failed.append(line)

    def wait(self):
        """Its exit status, once it has ended; by Ctrl-C it is told to by the terminal."""
        while True:
            try:
                self.join()
                return self.process.wait()
            except KeyboardInterrupt:
                print("tests: waiting until the labs are gone", flush=True)


def main(argv):
    """Run the tests; returns the exit status, 0 where all have passed."""
    if argv:
        return subprocess.call([*PYTEST, "-o", "testpaths=tests", *argv])
    shares = [Share(name) for name in SHARES]
    try:
        statuses = {share.name: share.wait() for share in shares}
    finally:
        # Where this process is ended, nobody reads what they print any more.
        for share in shares:
            share.process.terminate()
    # Of the share that ended first they are far above.
    print("".join(line for share in shares for line in share.failed), end="")
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
