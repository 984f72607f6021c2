"""A pytest plugin of a child run: Ctrl-C hits a test between opening a file and holding it."""

import os


def pytest_runtest_setup(item):
    open(os.devnull)  # noqa: SIM115 - it is gone at once, unclosed, as it is after Ctrl-C
    raise KeyboardInterrupt
