"""A pytest plugin of a child run: a hook fails, as where the disk is full for a moment."""


def pytest_runtest_logstart():
    raise OSError("planted defect")
