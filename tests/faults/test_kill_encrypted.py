"""kill -9 while gpg runs: no plaintext of the backup is on our disk."""

import signal
import time
from pathlib import Path

from tests.faults.plaintext import plaintext_in

DRILL = "encrypted_tarball"


BEFORE = {"--symmetric": ": being prepared", "--decrypt": ": destroy "}
"""What gpg does when a run is killed -> what was printed last before it."""


def test_killed_drills_leave_no_plaintext(start, drill_projects):
    orphans = set()
    for work, printed in BEFORE.items():
        run = start(drill=DRILL)
        run.read_until(printed)
        wait_for_gpg(run.process.pid, work)
        run.hurt(signal.SIGKILL)
        assert run.finish() == -signal.SIGKILL
        left = [path for path in run.temporary.rglob("*") if path.is_file()]
        assert left, "the kill came while the export was on its way"
        assert plaintext_in(run.temporary) == []
        assert plaintext_in(run.reports) == []
        assert not drill_projects() & orphans, "what the last one left was cleaned up by this one"
        orphans = drill_projects()


def wait_for_gpg(leader, work, seconds=60.0):
    """Until a gpg of that run does this work."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words = (place / "cmdline").read_bytes().split(b"\0")
                if words[0] != b"gpg" or work.encode() not in words:
                    continue
                if int((place / "stat").read_text().rsplit(")", 1)[1].split()[3]) == leader:
                    return
            except (OSError, IndexError, ValueError):
                continue
    raise AssertionError(f"no gpg {work} was seen")
