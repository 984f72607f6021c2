"""The shell of a drill by hand, in a directory of this machine: no lab has to be up for it.

    python -m tests.unit.local_shell DIRECTORY SECONDS

How it ends and what was typed goes to the standard error.
"""

import contextlib
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from fixtures.runbook.by_hand import Recording, Shell


class Place:
    """Stands for a sandbox: the same files, below a directory."""

    def __init__(self, directory):
        self.directory = directory

    def write(self, path, content, mode=0o600):
        file = self.directory / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)

    @contextlib.contextmanager
    def started(self, argv, environment, pipes, terminal):
        place = str(self.directory)
        own = {"HOME": f"{place}/root", "PATH": f"{place}/usr/local/bin:/usr/bin:/bin"}
        own["SHELL"] = "/bin/bash"
        given = {"stdin": terminal, "stdout": terminal, "stderr": terminal, "pass_fds": pipes}
        with subprocess.Popen(
            argv, env={**environment, **own}, start_new_session=True, **given
        ) as child:
            yield child
            child.kill()


def main(directory, seconds):
    begun = time.monotonic()
    cast, now = directory / "cast", datetime.now(UTC)
    recording = Recording(cast, lambda: time.monotonic() - begun, (80, 24), "a drill", now)
    with Shell(Place(directory), {}, recording, seconds) as shell:
        how = shell.wait()
    print(how, *(command.command for command in shell.commands), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
