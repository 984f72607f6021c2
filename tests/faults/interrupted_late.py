"""Loaded by `-p tests.faults.interrupted_late`: Ctrl-C comes at $INTERRUPTED, a moment of the end.

`teardown`: of the test, when that is done; `removal`: of what its drill has
made; `report`: of a drill that has failed, when it is logged.
"""

import os
import signal

import pytest

from fixtures.recovery.service import ServiceUnderDrill


def interrupt():
    os.environ["INTERRUPTED"] = ""
    os.kill(os.getpid(), signal.SIGINT)


def before(kind, verb, moment):
    act = getattr(kind, verb)

    def interrupted(self, *args, **settings):
        if os.environ["INTERRUPTED"] == moment:
            interrupt()
        return act(self, *args, **settings)

    setattr(kind, verb, interrupted)


def pytest_sessionstart():
    from fixtures.plugin.after import Resting

    before(ServiceUnderDrill, "remove", "removal")
    before(Resting, "_failed", "report")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    result = yield
    if os.environ["INTERRUPTED"] == "teardown":
        interrupt()
    return result
