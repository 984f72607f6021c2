"""A process and all that it has started get another niceness; nobody else does."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from fixtures.lab import priority


@pytest.mark.skipif(os.geteuid() != 0, reason="to take niceness back needs root")
def test_a_whole_family_is_given_a_niceness_and_its_own_again() -> None:
    other = subprocess.Popen(["sleep", "60"])
    family = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while not priority.descendants(family.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        [child] = priority.descendants(family.pid)
        before = os.getpriority(os.PRIO_PROCESS, other.pid)
        for niceness in (19, 0):
            priority.give(family.pid, niceness)
            for pid in (family.pid, child):
                assert os.getpriority(os.PRIO_PROCESS, pid) == niceness
            assert os.getpriority(os.PRIO_PROCESS, other.pid) == before
    finally:
        os.killpg(family.pid, 9)
        family.wait()
        other.kill()
        other.wait()
