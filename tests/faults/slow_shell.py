"""Loaded by `-p tests.faults.slow_shell`: bash of a drill by hand comes late to each prompt."""

from fixtures.runbook.perform import Sandbox

write = Sandbox.write


def write_slow(self, path, data, **about):
    if path == "/root/.bashrc":
        data = b"sleep 1\n" + data + b"\nPROMPT_COMMAND='__end; sleep 0.3'\n"
    write(self, path, data, **about)


Sandbox.write = write_slow
