"""A pytest plugin of a child run: Ctrl-C hits an instruction that has no line number."""


def interrupt():
    raise KeyboardInterrupt


interrupt.__code__ = interrupt.__code__.replace(co_linetable=b"")


def pytest_runtest_setup(item):
    interrupt()
